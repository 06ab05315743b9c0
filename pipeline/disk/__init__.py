"""Disk space: what a checkout holds, what of it is unused, and pruning of the cache."""
