"""Stage configure: write down what conf/ and params.yaml come to, for the other stages to depend on."""

import sys

from pipeline.config.compose import configuration
from pipeline.config.resolved import write_resolved
from pipeline.system.errors import PipelineError

if __name__ == "__main__":
    try:
        write_resolved(configuration())
    except PipelineError as error:
        sys.exit(f"\n{error}")
