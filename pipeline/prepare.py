"""Stage prepare, `python -m pipeline.prepare`: check and split the images; the code is in `pipeline.stages.prepare`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("prepare")
