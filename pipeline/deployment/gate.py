"""Registration of the best model of a comparison as challenger, and its promotion to champion.

A challenger is promoted if its export predicts as the model does, and if it is better than the champion, or cheaper
and not worse, on the same test images.
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
from pipeline.system.noise import tensorflow_import
from pipeline.system.terminal import report, waiting
from pipeline.tracking.store import artifact, run_metrics


@dataclass(frozen=True)
class Decision:
    """Decision whether to promote a challenger, with its reason and the values it is based on."""

    promoted: bool
    reason: str
    numbers: Json

    def record(self) -> Json:
        """Return the decision in the form in which it is logged."""
        return {"promoted": self.promoted, "reason": self.reason, **self.numbers}


def register_experiment(best: Experiment, registry: Registry, config: Config) -> str:
    """Register the model of an experiment, and promote it if it passes the comparison with the champion.

    Returns:
        A message that states the decision and its reason.

    Raises:
        PipelineError: The store can't be used, or the run of the experiment has no model.
    """
    champion = registry.version_of(CHAMPION)
    if champion and champion.run_id == best.run_id:
        return f"{registry.name}: the best model, {best.name}, is already the champion (version {champion.number})"
    report(f"Registering {best.name}")
    with tempfile.TemporaryDirectory() as folder:
        version = registry.register_challenger(best.run_id, write_card(best, Path(folder)))
    decision = judge(best, champion.run_id if champion else None, config)
    registry.record(version, decision.record())
    if decision.promoted:
        registry.promote(version)
    place = "champion" if decision.promoted else "challenger"
    return f"{registry.name}: {best.name} was registered as version {version.number} ({place}). {decision.reason}"


def judge(challenger: Experiment, champion: str | None, config: Config) -> Decision:
    """Decide whether a challenger becomes champion.

    Args:
        challenger: Experiment whose model was registered.
        champion: Run id of the current champion; None if there is none.
        config: Configuration with the settings of the export and the registration.
    """
    report("Comparing the predictions of its export with its own")
    try:
        with waiting("exporting"):
            parity = _parity(challenger, config)
    except PipelineError as error:
        return Decision(promoted=False, reason=f"Its export failed: {error}", numbers={})
    decision = compare_with_champion(champion, challenger, config)
    return replace(decision, numbers=decision.numbers | {"parity": parity})


def compare_with_champion(champion: str | None, challenger: Experiment, config: Config) -> Decision:
    """Compare the test predictions of the challenger with those of the champion; without a champion, promote it."""
    if champion is None:
        return Decision(
            promoted=True, reason="There was no champion, and the export predicts as the model does.", numbers={}
        )
    report("Comparing it with the champion on the same test images")
    cost, confidence = config.register.cost, config.evaluate.confidence
    try:
        (old, old_cost), (new, new_cost) = (_tested_run(run_id, cost) for run_id in (champion, challenger.run_id))
        difference = compare_hits(*hits_on_same_images(old, new), confidence)
    except PipelineError as error:
        return Decision(promoted=False, reason=str(error), numbers={})
    return decide(difference, (old_cost, new_cost), config.register, confidence)


def decide(difference: Difference, costs: tuple[float, float], register: RegisterConfig, confidence: float) -> Decision:
    """Decide on promotion from the difference in accuracy and the costs.

    A challenger is promoted if it is significantly better by McNemar's exact test. It is also promoted if it is not
    worse by more than the margin and its cost is lower by at least the saving.

    Args:
        difference: Accuracy of the challenger minus that of the champion.
        costs: Costs of the champion and of the challenger, in the unit of `register.cost`.
        register: Settings margin, cost and saving.
        confidence: Confidence level of the interval; the significance level of the test is 1 - confidence.
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
    promoted, verdict = False, f"neither significantly better nor cheaper by register.saving={register.saving:g}"
    if difference.value > 0 and difference.p < 1 - confidence:
        promoted, verdict = True, "significantly better"
    elif difference.low <= -register.margin:
        verdict = f"not significantly better, and may be worse by more than register.margin={register.margin:g}"
    elif new < old and new <= old * (1 - register.saving):
        promoted, verdict = True, f"not worse by more than register.margin={register.margin:g}, and cheaper"
    reason = (
        f"It is {verdict}: accuracy {difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f}), "
        f"p {difference.p:.3g}; {register.cost} {new:.4g} against {old:.4g}."
    )
    return Decision(promoted, reason, numbers)


def hits_on_same_images(champion: pd.DataFrame, challenger: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each model predicts each image correctly, bool [n] each, in the same order of images.

    Args:
        champion: Predictions with the columns sha256, label and prediction, as in predictions.parquet.
        challenger: Predictions of the same form.

    Raises:
        PipelineError: The models were evaluated on different images, or with different labels.
    """
    first, second = (
        each.sort_values(["sha256", "label"], kind="stable", ignore_index=True) for each in (champion, challenger)
    )
    if not first[["sha256", "label"]].equals(second[["sha256", "label"]]):
        raise PipelineError(
            "Champion and challenger were evaluated on different test images or labels and can't be compared; "
            "evaluate both on the same test set"
        )
    return (first["label"] == first["prediction"]).to_numpy(), (second["label"] == second["prediction"]).to_numpy()


def _tested_run(run_id: str, cost: str) -> tuple[pd.DataFrame, float]:
    """Read the predictions and the cost of a run from MLflow.

    Raises:
        PipelineError: The run was deleted, or it lacks its predictions or its cost.
    """
    file = artifact(f"runs:/{run_id}", PREDICTIONS)
    value = None if file is None else run_metrics(run_id).get(COSTS[cost].metric)
    if file is None or value is None:
        raise PipelineError(
            f"The run {run_id} of champion or challenger was deleted, or lacks {PREDICTIONS} or its cost ({cost}); "
            "if it is the champion's run, use --rollback or delete the alias in MLflow."
        )
    return pd.read_parquet(file), value


def _parity(challenger: Experiment, config: Config) -> Json:
    """Export the model to a temporary folder, and compare the predictions of the export with those of the model.

    Returns:
        The fields images, same_class, largest_difference and tolerance.

    Raises:
        PipelineError: The export failed, or its predictions differ by more than the settings of the export allow.
    """
    # Imported here, because TensorFlow takes seconds to import and the comparison does not need it.
    with tensorflow_import():
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
