"""Measurements of the pipeline, and a check that two versions of it compute the same; each module is a command."""
