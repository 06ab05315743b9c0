"""All stages in one process: `python -m pipeline`, or with -m a sweep over the whole pipeline."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main(None)
