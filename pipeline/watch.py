"""Stage watch: digests of the images and of a weights file, so that changes are noticed.

`python -m pipeline.watch`; light, since it runs every time.
"""

from pipeline.jobs.identity import outside_digests, write_digests
from pipeline.stages.settings import read_config
from pipeline.system.cli import run_command

if __name__ == "__main__":
    run_command(lambda: write_digests(outside_digests(read_config())))
