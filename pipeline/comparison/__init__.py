"""Comparison of experiments on the same test images."""
