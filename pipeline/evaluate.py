"""Stage evaluate: both models on the test images.

`python -m pipeline.evaluate`; the body is `pipeline.stages.evaluate`.
"""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("evaluate")
