"""Stage watch, `python -m pipeline.watch`: compute digests of the images and the weights file to detect changes.

DVC always runs this stage, so its imports are few and fast.
"""

from pipeline.jobs.identity import outside_digests, write_digests
from pipeline.stages.settings import read_config
from pipeline.system.cli import run_command

if __name__ == "__main__":
    run_command(lambda: write_digests(outside_digests(read_config())))
