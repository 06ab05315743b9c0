"""Register the best model of a comparison: as challenger, and as champion if it passes the gate."""

import tempfile
from pathlib import Path

from pipeline.comparison.experiments import Experiment
from pipeline.config import Config
from pipeline.deployment.registration.gate import judge
from pipeline.deployment.registration.model_card import write_card
from pipeline.deployment.registration.registry import CHAMPION, Registry


def register_experiment(best: Experiment, registry: Registry, config: Config) -> str:
    """Register an experiment's model, judge it against the champion, and record the decision; return it in a sentence.

    Raises:
        PipelineError: the store can't be used, or the experiment's run has no model.
    """
    champion = registry.version_of(CHAMPION)
    if champion and champion.run_id == best.run_id:
        return f"{registry.name}: the best one, {best.name}, is champion already, as version {champion.number}"
    with tempfile.TemporaryDirectory() as folder:
        version = registry.register_challenger(best.run_id, write_card(best, Path(folder)))
    decision = judge(best, champion.run_id if champion else None, config)
    registry.record(version, decision.record())
    if decision.promoted:
        registry.promote(version)
    place = "champion" if decision.promoted else "challenger"
    return f"{registry.name}: {best.name} is version {version.number}, {place}. {decision.reason}"
