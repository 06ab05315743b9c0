"""Stage report, `python -m pipeline.report`: draw charts and pages; the code is in `pipeline.stages.report`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("report")
