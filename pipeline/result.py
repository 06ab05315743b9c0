"""Print the result of `dvc repro` with `python -m pipeline.result`."""

from pipeline.jobs.ending import result_lines
from pipeline.stages.settings import OUTPUTS, read_config
from pipeline.system.cli import run_without_arguments


def result() -> None:
    """Print the test accuracy of the last `dvc repro`, with its interval, and where the model and the report are."""
    print("", *result_lines(OUTPUTS, read_config().evaluate.confidence), sep="\n")


if __name__ == "__main__":
    run_without_arguments("result", result)
