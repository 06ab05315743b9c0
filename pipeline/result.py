"""Print the result of `dvc repro` with `python -m pipeline.result`."""

from pipeline.jobs.ending import result_lines
from pipeline.stages.settings import OUTPUTS, read_config
from pipeline.system.cli import run_command


def result() -> None:
    """Print the test accuracy in outputs/, and where to read on."""
    print("", *result_lines(OUTPUTS, read_config().evaluate.confidence), sep="\n")


if __name__ == "__main__":
    run_command(result)
