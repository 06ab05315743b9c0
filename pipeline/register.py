"""Put the best model of a comparison into the registry: `python -m pipeline.register`."""

import argparse

from pipeline.system.cli import run_command


def main() -> None:
    """Register the best model of a comparison as challenger.

    It becomes champion if it passes the gate (conf/register): its export agrees with it, and it is the better one.
    Better on the same test images by the paired test, or not worse and cheaper.
    """
    run_command(register, _arguments())


def register(args: argparse.Namespace) -> None:
    """Register a model, or roll back to the champion before; see `python -m pipeline.register --help`.

    Raises:
        PipelineError: there is nothing to register, or nothing to go back to.
    """
    # MLflow takes seconds to import, and --help does not need it; what registers a model takes longer.
    from pipeline.config.compose import configuration
    from pipeline.deployment.registration.registry import CHAMPION, Registry

    config = configuration(args.overrides)
    registry = Registry(config.tracking, config.register.model)
    if args.rollback:
        lost, back = registry.roll_back()
        registry.record(lost, {"promoted": False, "reason": f"Rolled back to version {back.number}."})
        print(f"{registry.name}: version {back.number} is champion again, instead of version {lost.number}")
    elif args.unless_champion and (champion := registry.version_of(CHAMPION)):
        print(f"{registry.name}: version {champion.number} is champion")
    else:
        from pipeline.comparison.best import best_experiment
        from pipeline.deployment.registration.register import register_experiment

        best = best_experiment(
            config, cost=config.register.cost, query=args.filter, sweep=args.sweep, run_ids=args.runs
        )
        print(register_experiment(best, registry, config))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.register", description=main.__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--filter", help="the best of those that MLflow's filter finds")
    choice.add_argument(
        "--sweep", nargs="?", const="", help="the best of a sweep: a part of its command line; alone, the latest sweep"
    )
    choice.add_argument("--runs", nargs="+", metavar="ID", help="the best of these MLflow runs")
    choice.add_argument("--rollback", action="store_true", help="make the champion before this one champion again")
    choice.add_argument("--unless-champion", action="store_true", help="do nothing where there is a champion")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of the configuration, such as register.margin=0.02"
    )
    args = parser.parse_intermixed_args()
    if args.runs:
        # argparse gives --runs all words that follow, overrides too.
        args.overrides += [word for word in args.runs if "=" in word]
        args.runs = [word for word in args.runs if "=" not in word]
    return args


if __name__ == "__main__":
    main()
