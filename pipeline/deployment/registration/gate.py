"""The gate before the registry: parity of the challenger's export, then the rule on the test images it shares with the champion."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.comparison.experiments import Experiment
from pipeline.comparison.ranking import PREDICTIONS
from pipeline.comparison.rows import COSTS
from pipeline.config import Config
from pipeline.deployment.classifier import load
from pipeline.deployment.exports.export import export
from pipeline.deployment.exports.sample import own_sample
from pipeline.deployment.find_model import find_model
from pipeline.deployment.registration.promotion import Decision, compared, decide
from pipeline.system.errors import PipelineError
from pipeline.tracking import artifact, run_metrics


def judge(challenger: Experiment, champion: str | None, config: Config) -> Decision:
    """Whether a challenger becomes champion; `champion` is the run of the present one."""
    try:
        parity = _parity(challenger, config)
    except PipelineError as error:
        return Decision(False, f"Its export fails: {error}", {})
    decision = _against(champion, challenger, config)
    return replace(decision, numbers=decision.numbers | {"parity": parity})


def _against(champion: str | None, challenger: Experiment, config: Config) -> Decision:
    if champion is None:
        return Decision(True, "It is the first, and its export answers as it does.", {})
    cost = config.register.cost
    files = [artifact(f"runs:/{run_id}", PREDICTIONS) for run_id in (champion, challenger.run_id)]
    costs = (
        [None] if None in files else [run_metrics(run_id).get(COSTS[cost]) for run_id in (champion, challenger.run_id)]
    )
    if None in costs:
        return Decision(
            False,
            f"The run of champion or challenger is gone, or tells no predictions ({PREDICTIONS}) or no {cost}; where it is the champion's, "
            "--rollback, or delete the alias in MLflow.",
            {},
        )
    try:
        difference = compared(*(pd.read_parquet(file) for file in files), config.evaluate.confidence)
    except PipelineError as error:
        return Decision(False, str(error), {})
    return decide(difference, tuple(costs), config.register, config.evaluate.confidence)


def _parity(challenger: Experiment, config: Config) -> dict[str, Any]:
    """How far the model's export, which is thrown away, is from the model.

    Raises:
        PipelineError: further than the export's margins allow.
    """
    found = find_model(f"runs:/{challenger.run_id}/model", config)
    classifier = load(found)
    counts = config.export.images, config.export.int8_images
    sample = own_sample(found, classifier.classes, config.tracking, *counts)
    with tempfile.TemporaryDirectory() as folder:
        told = export(classifier, ["saved_model"], sample, config.export, Path(folder) / "exports")["saved_model"]
    numbers = {name: told[name] for name in ("images", "same_class", "largest_difference")}
    return numbers | {"tolerance": config.export.tolerance}
