"""Atomic files, and the cache of arrays."""
