"""Check and split the images with `python -m pipeline.prepare`; see `pipeline.stages.prepare`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("prepare")
