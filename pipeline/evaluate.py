"""Stage evaluate, `python -m pipeline.evaluate`: evaluate both models; the code is in `pipeline.stages.evaluate`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("evaluate")
