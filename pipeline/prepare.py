"""Stage prepare: find the images, check them, and split them.

`python -m pipeline.prepare`; the body is `pipeline.stages.prepare`.
"""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("prepare")
