"""Benchmarks and robustness tests of the pipeline, and a comparison of results; most modules are commands."""
