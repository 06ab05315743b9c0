"""Find a learning rate before training with it: `python -m pipeline.find_lr [overrides]`"""

import argparse
import logging
import math
from pathlib import Path

from pipeline.system.cli import run_command

# As a program this module has no name of its own.
log = logging.getLogger("pipeline.find_lr")


def main() -> None:
    """A rate range test of an experiment as configured: the learning rate rises from find_lr.low to find_lr.high, and the loss says where it bears no more."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.find_lr",
        description=main.__doc__,
        usage="%(prog)s [--phase finetune|train] [key=value ...]",
        epilog="Overrides are those of python -m pipeline. What the test needs of earlier stages is made first, in the experiment's own folder.",
    )
    parser.add_argument("--phase", choices=["finetune", "train"], default="finetune", help="what to test (finetune)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the configuration")
    run_command(find_lr, parser.parse_intermixed_args())


def find_lr(given: argparse.Namespace) -> None:
    """Write `find_lr/` in the experiment's folder, log it, and say what it suggests.

    Raises:
        PipelineError: the configuration, or whatever the stages before find wrong.
    """
    # Seconds to import, and --help needs none of it.
    from pipeline.config.compose import configuration
    from pipeline.jobs.identity import experiment_key, outside_digests
    from pipeline.jobs.pipeline import run_through
    from pipeline.jobs.stage import Experiment, places_of
    from pipeline.reports.training_charts import plot_rate_range
    from pipeline.stages.find_lr import range_test
    from pipeline.storage.files import whole_folder, write_json
    from pipeline.system.terminal import start_logging
    from pipeline.tracking import log_rate_range

    config = configuration(given.overrides)
    digests = outside_digests(config)
    folder = Path("runs") / experiment_key(config, digests)
    start_logging(folder / "find_lr.log")
    experiment = Experiment.of(config, folder, digests)
    run_through("train" if given.phase == "finetune" else "prepare", experiment, repeat=False)
    found = range_test(config, given.phase, places_of(config), folder)
    configured = getattr(config, given.phase).learning_rate
    with whole_folder(folder / "find_lr") as out:
        found.table.to_csv(out / "rates.csv", index=False)
        plot_rate_range(found.table, found.suggested, configured, out / "find_lr.png")
        figures = {"phase": given.phase, "suggested": found.suggested, "configured": configured}
        write_json(out / "suggestion.json", figures)
    log_rate_range(config, folder / "find_lr", figures)
    log.info(
        "%s.learning_rate: %.2g is suggested, a tenth of where the loss was lowest; %.2g is configured, %s. See %s",
        given.phase, found.suggested, configured, _compared(configured / found.suggested), folder / "find_lr" / "find_lr.png",
    )  # fmt: skip


def _compared(ratio: float) -> str:
    if abs(math.log10(ratio)) < 0.5:
        return "about the same"
    return f"{ratio:.1f} times that" if ratio > 1 else f"{1 / ratio:.1f} times less"


if __name__ == "__main__":
    main()
