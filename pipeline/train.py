"""Run feature extraction with `python -m pipeline.train`; see `pipeline.stages.train`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("train")
