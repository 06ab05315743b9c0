"""Register the best model of a comparison with `python -m pipeline.register`."""

import argparse
import sys

from pipeline.config.help import CommandParser
from pipeline.system.cli import add_overrides, add_selection, parse_selection, run_command
from pipeline.system.terminal import waiting


def main() -> None:
    """Register the best model of a comparison as challenger, and make it champion if it passes all checks.

    The checks (conf/register): its exported model predicts the same, and it is better than the champion. It is better
    if a paired test on the same test images shows this, or if it is not worse and cheaper.
    """
    parser = CommandParser(
        "register", main.__doc__, examples=["", "--runs 1a2b3c4d register.margin=0.02", "--rollback"], keys=["register"]
    )
    choice = add_selection(parser)
    choice.add_argument("--rollback", action="store_true", help="make the previous champion the champion again")
    choice.add_argument(
        "--unless-champion", action="store_true", help="register a model only if there is no champion yet"
    )
    add_overrides(parser, "register.margin=0.02")
    run_command(register, parse_selection(parser))


def register(args: argparse.Namespace) -> None:
    """Register a model, or roll back to the previous champion; see `python -m pipeline.register --help`.

    Raises:
        PipelineError: There is no model to register, or no previous champion.
    """
    # MLflow takes seconds to import, and --help does not need it.
    from pipeline.config.compose import configuration
    from pipeline.deployment.registry import CHAMPION, Registry

    config = configuration(args.overrides)
    registry = Registry(config.tracking, config.register.model)
    if args.rollback:
        lost, back = registry.roll_back()
        registry.record(lost, {"promoted": False, "reason": f"Rolled back to version {back.number}."})
        print(f"{registry.name}: version {back.number} is champion again, instead of version {lost.number}")
    elif args.unless_champion and (champion := registry.version_of(CHAMPION)):
        print(f"{registry.name}: version {champion.number} is champion")
    else:
        from pipeline.comparison.ranking import best_experiment
        from pipeline.deployment.gate import register_experiment

        cost = config.register.cost
        with waiting("comparing experiments"):
            best = best_experiment(config, cost=cost, query=args.filter, sweep=args.sweep, run_ids=args.runs)
        print(register_experiment(best, registry, config))
        if registry.version_of(CHAMPION):
            next_step = f"make serve, or python -m pipeline.predict models:/{registry.name}@{CHAMPION} photos/"
            print(f"Next: {next_step}", file=sys.stderr)


if __name__ == "__main__":
    main()
