"""What predictions say about a model, and how surely: intervals, tests, calibration, pictures of it, and the report."""
