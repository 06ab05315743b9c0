"""Run all stages with `python -m pipeline`, or a sweep over many configurations with `-m`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main(None)
