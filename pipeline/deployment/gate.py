"""The gate before the registry: parity of the challenger's export, then the rule on the test images it shares with the champion."""

import tempfile
from pathlib import Path

import pandas as pd

from pipeline.comparison.evidence import PREDICTIONS
from pipeline.comparison.experiments import Experiment
from pipeline.comparison.rows import COSTS
from pipeline.config import Config
from pipeline.deployment.classifier import load
from pipeline.deployment.exporting import export
from pipeline.deployment.finding import find_model
from pipeline.deployment.promotion import Decision, compared, decide
from pipeline.deployment.sample import own_sample
from pipeline.errors import PipelineError
from pipeline.tracking import artifact, run_metrics


def judge(challenger: Experiment, champion: str | None, config: Config) -> Decision:
    """Whether a challenger becomes champion; `champion` is the run of the present one."""
    if problem := _parity_problem(challenger, config):
        return Decision(False, f"Its export fails: {problem}", {})
    if champion is None:
        return Decision(True, "It is the first, and its export answers as it does.", {})
    cost = config.register.cost
    files = [artifact(f"runs:/{run_id}", PREDICTIONS) for run_id in (champion, challenger.run_id)]
    costs = [run_metrics(run_id).get(COSTS[cost]) for run_id in (champion, challenger.run_id)]
    if None in files or None in costs:
        return Decision(False, f"Champion or challenger tells no predictions ({PREDICTIONS}) or no {cost}.", {})
    try:
        difference = compared(*(pd.read_parquet(file) for file in files), config.evaluate.confidence)
    except PipelineError as error:
        return Decision(False, str(error), {})
    return decide(difference, tuple(costs), config.register, config.evaluate.confidence)


def _parity_problem(challenger: Experiment, config: Config) -> str | None:
    """Why the model's export, which is thrown away, does not answer as the model does; None if it does."""
    found = find_model(f"runs:/{challenger.run_id}/model", config)
    classifier = load(found)
    counts = config.export.images, config.export.int8_pictures
    try:
        sample = own_sample(found, classifier.classes, config.tracking, *counts)
        with tempfile.TemporaryDirectory() as folder:
            export(classifier, ["saved_model"], sample, config.export, Path(folder) / "exports")
    except PipelineError as error:
        return str(error)
    return None
