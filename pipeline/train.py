"""Stage train: phase 1, feature extraction. `python -m pipeline.train`; the body is `pipeline.stages.train`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("train")
