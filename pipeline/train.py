"""Stage train, `python -m pipeline.train`: run feature extraction; the code is in `pipeline.stages.train`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("train")
