"""Draw the charts and write the pages with `python -m pipeline.report`; see `pipeline.stages.report`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("report")
