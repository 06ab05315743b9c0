"""Stage watch: digests of the data folder's listing and of a weights file, so that changes are noticed. Light, since it runs every time."""

import sys

from pipeline.config.resolved import read_resolved, write_watched
from pipeline.jobs.identity import watched
from pipeline.system.errors import PipelineError

if __name__ == "__main__":
    try:
        write_watched(watched(read_resolved()))
    except PipelineError as error:
        sys.exit(f"\n{error}")
