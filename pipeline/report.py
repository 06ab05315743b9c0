"""Stage report: charts, pages, and the complete MLflow run.

`python -m pipeline.report`; the body is `pipeline.stages.report`.
"""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("report")
