"""Metrics of a model on the test images, with confidence intervals, calibration and significance tests."""
