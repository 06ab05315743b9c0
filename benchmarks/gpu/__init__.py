"""Speed of the pipeline on one device, by `python -m benchmarks.gpu`: feed, networks and whole experiments."""
