"""Experiments against each other, on the same test images."""
