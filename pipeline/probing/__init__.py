"""Probing of backbones: which one's features suit a data set."""
