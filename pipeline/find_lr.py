"""Suggest a learning rate with `python -m pipeline.find_lr [overrides]`."""

import argparse

from pipeline.config.help import CommandParser
from pipeline.system.cli import add_overrides, run_command


def main() -> None:
    """Suggest a learning rate for the configured experiment with a learning-rate range test.

    The rate rises from find_lr.low to find_lr.high until the loss diverges. Earlier stages that the test needs run
    first, in the folder of the experiment.
    """
    parser = CommandParser(
        "find_lr",
        main.__doc__,
        examples=["", "--phase train backbone=resnet50", "dataset=folder dataset.path=/data/flowers find_lr.steps=200"],
        keys=["find_lr"],
    )
    parser.usage = "%(prog)s [--phase finetune|train] [key=value ...]"
    parser.add_argument(
        "--phase", choices=["finetune", "train"], default="finetune", help="phase to test (default: finetune)"
    )
    add_overrides(parser, "backbone=vgg16")
    run_command(find_lr, parser.parse_intermixed_args())


def find_lr(args: argparse.Namespace) -> None:
    """Run the stages that the range test needs, run the test, and log it; see `python -m pipeline.find_lr --help`.

    Raises:
        PipelineError: The configuration is invalid, or a stage failed.
    """
    from pipeline.config.compose import configuration

    config = configuration(args.overrides)
    # MLflow takes seconds to import, so it is imported only after the configuration is checked.
    from pipeline.jobs.networks import check_networks
    from pipeline.jobs.run_stages import run_for_command
    from pipeline.jobs.stage import places_of
    from pipeline.system.noise import tensorflow_import
    from pipeline.tracking.command_runs import log_rate_range

    check_networks([config])
    root = run_for_command("find_lr", "train" if args.phase == "finetune" else "prepare", config)
    # TensorFlow and matplotlib take seconds to import, so they are imported only after the stages have succeeded.
    with tensorflow_import():
        from pipeline.stages.find_lr import run

    log_rate_range(config, root / "find_lr", run(config, args.phase, places_of(config), root))


if __name__ == "__main__":
    main()
