"""Put the best model of a comparison into the registry: `python -m pipeline.register`"""

import argparse
import tempfile
from pathlib import Path

from pipeline.system.cli import run_command


def main() -> None:
    """Register the best model of a comparison as challenger; it becomes champion if it passes the gate: parity of its export, and on the
    same test images better by the paired test, or not worse and cheaper (conf/register)."""
    run_command(register, _arguments())


def register(given: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        PipelineError: there is nothing to register, or nothing to go back to.
    """
    # Seconds to import, and --help needs none of it.
    from pipeline.comparison.best import best_experiment
    from pipeline.config.compose import configuration
    from pipeline.deployment.registration.gate import judge
    from pipeline.deployment.registration.model_card import write_card
    from pipeline.deployment.registration.registry import CHAMPION, Registry

    config = configuration(given.overrides)
    registry = Registry(config.tracking, config.register.model)
    champion = registry.holder(CHAMPION)
    if given.rollback:
        lost, back = registry.roll_back()
        registry.record(lost, {"promoted": False, "reason": f"Rolled back to version {back.number}."})
        print(f"{registry.name}: version {back.number} is champion again, instead of version {lost.number}")
        return
    if given.unless_champion and champion:
        print(f"{registry.name}: version {champion.number} is champion")
        return
    best = best_experiment(config, config.register.cost, given.filter, given.sweep, given.runs)
    if champion and champion.run_id == best.run_id:
        print(f"{registry.name}: the best one, {best.name}, is champion already, as version {champion.number}")
        return
    with tempfile.TemporaryDirectory() as folder:
        version = registry.challenge(best.run_id, write_card(best, Path(folder)))
    decision = judge(best, champion.run_id if champion else None, config)
    registry.record(version, decision.named())
    if decision.promoted:
        registry.promote(version)
    place = "champion" if decision.promoted else "challenger"
    print(f"{registry.name}: {best.name} is version {version.number}, {place}. {decision.reason}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.register", description=main.__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--filter", help="the best of those that MLflow's filter finds")
    choice.add_argument(
        "--sweep", nargs="?", const="", help="the best of a sweep: a part of its command line; alone, the latest sweep"
    )
    choice.add_argument(
        "--runs", type=lambda given: given.split(","), metavar="ID,ID", help="the best of these MLflow runs"
    )
    choice.add_argument("--rollback", action="store_true", help="make the champion before this one champion again")
    choice.add_argument("--unless-champion", action="store_true", help="do nothing where there is a champion")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of the configuration, such as register.margin=0.02"
    )
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()
