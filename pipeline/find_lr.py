"""Find a learning rate before training with it: `python -m pipeline.find_lr [overrides]`."""

import argparse
from dataclasses import replace
from pathlib import Path

from pipeline.system.cli import add_overrides, run_command


def main() -> None:
    """Suggest a learning rate for an experiment as configured.

    A range test: the rate rises from find_lr.low to find_lr.high, and the loss shows where it becomes too high.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.find_lr",
        description=main.__doc__,
        usage="%(prog)s [--phase finetune|train] [key=value ...]",
        epilog="Overrides are those of python -m pipeline. What the test needs of earlier stages is run first, in the "
        "experiment's own folder.",
    )
    parser.add_argument("--phase", choices=["finetune", "train"], default="finetune", help="what to test (finetune)")
    add_overrides(parser, "backbone=vgg16")
    run_command(find_lr, parser.parse_intermixed_args())


def find_lr(args: argparse.Namespace) -> None:
    """Run the stages that the range test needs, then the test, and log it; see `python -m pipeline.find_lr --help`.

    Raises:
        PipelineError: the configuration, or whatever the stages before find wrong.
    """
    from pipeline.config.compose import configuration

    config = configuration(args.overrides)
    # MLflow takes seconds to import: only for a configuration that is valid.
    from pipeline.jobs.identity import Experiment
    from pipeline.jobs.pipeline import run_through
    from pipeline.jobs.stage import places_of
    from pipeline.system.terminal import start_logging
    from pipeline.tracking.new_run import log_rate_range

    experiment = Experiment.of(config, Path("runs"))
    root = experiment.root / experiment.key
    start_logging(root / "find_lr.log")
    needs = "train" if args.phase == "finetune" else "prepare"
    run_through(needs, replace(experiment, root=root), repeat=False)
    # TensorFlow and matplotlib take seconds to import: not before the stages, which report what is wrong first.
    from pipeline.stages.find_lr import run

    log_rate_range(config, root / "find_lr", run(config, args.phase, places_of(config), root))


if __name__ == "__main__":
    main()
