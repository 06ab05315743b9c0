"""Atomic writing of files, and the cache of arrays."""
