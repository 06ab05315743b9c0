"""Evaluate both models on the test images with `python -m pipeline.evaluate`; see `pipeline.stages.evaluate`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("evaluate")
