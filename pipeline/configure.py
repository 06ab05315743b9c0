"""Stage configure: write down what conf/ and params.yaml come to, for the other stages to depend on."""

import sys

from pipeline.composition import configuration
from pipeline.errors import PipelineError
from pipeline.resolved import write_resolved

if __name__ == "__main__":
    try:
        write_resolved(configuration())
    except PipelineError as error:
        sys.exit(f"\n{error}")
