"""Sweeps of many jobs, and searches with Optuna."""
