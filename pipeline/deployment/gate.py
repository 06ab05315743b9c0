"""Registration of a comparison's best model: as challenger, and as champion if it passes the gate.

The gate is parity of the challenger's export, and a rule on test images shared with the champion.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.comparison.costs import COSTS
from pipeline.comparison.experiments import Experiment
from pipeline.comparison.ranking import PREDICTIONS
from pipeline.config import Config, RegisterConfig
from pipeline.deployment.model_card import write_card
from pipeline.deployment.registry import CHAMPION, Registry
from pipeline.evaluation.significance import Difference, compare_hits
from pipeline.storage.files import Json
from pipeline.system.errors import PipelineError
from pipeline.tracking.store import artifact, run_metrics


@dataclass(frozen=True)
class Decision:
    """The decision about a challenger, and the numbers behind it."""

    promoted: bool
    reason: str
    numbers: Json

    def record(self) -> Json:
        """As it is logged."""
        return {"promoted": self.promoted, "reason": self.reason, **self.numbers}


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


def judge(challenger: Experiment, champion: str | None, config: Config) -> Decision:
    """Decide whether a challenger becomes champion.

    Args:
        challenger: the experiment whose model was registered.
        champion: run of the present champion; None where there is none.
        config: margins of the export and of the rule.
    """
    try:
        parity = _parity(challenger, config)
    except PipelineError as error:
        return Decision(promoted=False, reason=f"Its export fails: {error}", numbers={})
    decision = compare_with_champion(champion, challenger, config)
    return replace(decision, numbers=decision.numbers | {"parity": parity})


def compare_with_champion(champion: str | None, challenger: Experiment, config: Config) -> Decision:
    """Apply the rule to the two runs' predictions; the first model to be registered has nothing to be compared with."""
    if champion is None:
        return Decision(promoted=True, reason="It is the first, and its export predicts as it does.", numbers={})
    cost, confidence = config.register.cost, config.evaluate.confidence
    try:
        (old, old_cost), (new, new_cost) = (_tested_run(run_id, cost) for run_id in (champion, challenger.run_id))
        difference = compare_hits(*hits_on_same_images(old, new), confidence)
    except PipelineError as error:
        return Decision(promoted=False, reason=str(error), numbers={})
    return decide(difference, (old_cost, new_cost), config.register, confidence)


def decide(difference: Difference, costs: tuple[float, float], register: RegisterConfig, confidence: float) -> Decision:
    """Apply the rule: better by McNemar's exact test, or not worse by more than the margin and cheaper by the saving.

    Args:
        difference: the challenger's accuracy less the champion's.
        costs: the champion's and the challenger's, in what `register.cost` names.
        register: margin, cost and saving.
        confidence: of the interval; 1 less this is the level of the test.
    """
    old, new = costs
    numbers = difference.named() | {
        "cost": register.cost,
        "champion_cost": old,
        "challenger_cost": new,
        "saving": register.saving,
        "margin": register.margin,
        "confidence": confidence,
    }
    promoted, verdict = False, f"neither shown to be better nor cheaper by register.saving={register.saving:g}"
    if difference.value > 0 and difference.p < 1 - confidence:
        promoted, verdict = True, "better"
    elif difference.low <= -register.margin:
        verdict = f"not shown to be better, and may be worse by more than register.margin={register.margin:g}"
    elif new < old and new <= old * (1 - register.saving):
        promoted, verdict = True, f"not worse by more than register.margin={register.margin:g}, and cheaper"
    reason = (
        f"It is {verdict}: accuracy {difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f}), "
        f"p {difference.p:.3g}; {register.cost} {new:.4g} against {old:.4g}."
    )
    return Decision(promoted, reason, numbers)


def hits_on_same_images(champion: pd.DataFrame, challenger: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Which images each predicts right, bool [n], in one order.

    Args:
        champion: columns sha256, label and prediction, as predictions.parquet has them.
        challenger: the same.

    Raises:
        PipelineError: they were tested on other images, or with other labels.
    """
    first, second = (
        each.sort_values(["sha256", "label"], kind="stable", ignore_index=True) for each in (champion, challenger)
    )
    if not first[["sha256", "label"]].equals(second[["sha256", "label"]]):
        raise PipelineError(
            "Champion and challenger were tested on different images, so that neither is known to be better; "
            "evaluate both on the same test/ folder"
        )
    return (first["label"] == first["prediction"]).to_numpy(), (second["label"] == second["prediction"]).to_numpy()


def _tested_run(run_id: str, cost: str) -> tuple[pd.DataFrame, float]:
    """Read a run's predictions and its cost from MLflow.

    Raises:
        PipelineError: the run is gone, or lacks something.
    """
    file = artifact(f"runs:/{run_id}", PREDICTIONS)
    value = None if file is None else run_metrics(run_id).get(COSTS[cost].metric)
    if file is None or value is None:
        raise PipelineError(
            f"The run {run_id} of champion or challenger is gone, or lacks its predictions ({PREDICTIONS}) or its {cost}; "
            "where it is the champion's, use --rollback, or delete the alias in MLflow."
        )
    return pd.read_parquet(file), value


def _parity(challenger: Experiment, config: Config) -> Json:
    """Measure the distance of the model's export, which is thrown away, from the model.

    Raises:
        PipelineError: further than the export's margins allow.
    """
    # TensorFlow takes seconds to import, and the rule does not need it.
    from pipeline.deployment.classifier import load
    from pipeline.deployment.exports.export import export_classifier
    from pipeline.deployment.exports.parity import experiment_sample
    from pipeline.deployment.find_model import find_model

    reference = find_model(f"runs:/{challenger.run_id}/model", config)
    classifier = load(reference)
    sample = experiment_sample(reference, classifier.classes, config)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "exports"
        summary = export_classifier(classifier, ["saved_model"], sample, margins=config.export, folder=place)
    numbers = {name: summary["saved_model"][name] for name in ("images", "same_class", "largest_difference")}
    return numbers | {"tolerance": config.export.tolerance}
