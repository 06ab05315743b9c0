"""Model card of a registered model, in Markdown and HTML.

Source: M. Mitchell et al., Model Cards for Model Reporting, 2019.
"""

import json
from pathlib import Path

import pandas as pd

from pipeline.comparison.experiments import Experiment
from pipeline.config.size import size_text
from pipeline.reports.evaluation_page import headline
from pipeline.storage.files import Json
from pipeline.system.errors import PipelineError
from pipeline.tracking.tags import LOCK_SHA256, internal
from pipeline.visuals.pages import figure, render

_PER_CLASS = "evaluate/per_class.csv"


def write_card(experiment: Experiment, folder: Path) -> list[Path]:
    """Write card.md and card.html to `folder`, and return their paths.

    Raises:
        PipelineError: The run has no per-class metrics in MLflow.
    """
    content = _card(experiment)
    files = [folder / "card.md", folder / "card.html"]
    for file in files:
        file.write_text(render(file.name, **content), encoding="utf-8")
    return files


def _card(experiment: Experiment) -> Json:
    """Return the variables of the templates card.md and card.html."""
    params, metrics, tags = experiment.params, experiment.all_metrics, experiment.tags
    test = {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}
    classes = _per_class(experiment)
    weakest = classes.iloc[int(classes["recall"].argmin())]
    return {
        "title": f"Model card: {experiment.name}",
        "run_id": experiment.run_id,
        "backbone": params["backbone.name"],
        "image_size": size_text(json.loads(params["image_size"])),
        # Images of older runs were stretched.
        "resize": params.get("image.resize", "stretch"),
        "phase": tags["best_phase"],
        # Older runs have the unfreeze depth under its former name.
        "unfreeze": tags["unfreeze"] if "unfreeze" in tags else tags["finetune.depth"],
        "parameters": int(metrics.get("model/trainable_parameters", 0)),
        "size": metrics.get("model/size_mib"),
        "latency": metrics.get("model/prediction_milliseconds"),
        "data": Path(params["dataset.path"]).name if "dataset.path" in params else params["dataset.name"],
        "training_data": tags.get("training_data", ""),
        "test_data": tags.get("test_data", ""),
        "splits": _splits(metrics),
        "figures": [(words, _format_interval(test, name)) for words, name in headline(test)],
        "confidence": float(params.get("evaluate.confidence", 0.95)),
        "temperature": test.get("calibration/temperature"),
        "calibrated": params.get("evaluate.calibrate") == "True",
        "ece": (test.get("calibration/ece_before"), test.get("calibration/ece_after")),
        "classes": classes.to_dict("records"),
        "weakest": weakest["class"],
        "weakest_recall": float(weakest["recall"]),
        "corrupted": test.get("corrupted/mean"),
        "commit": tags.get("git_commit", ""),
        "dirty": tags.get("git_dirty") == "true",
        "lock": internal(tags, LOCK_SHA256),
    }


def _per_class(experiment: Experiment) -> pd.DataFrame:
    file = experiment.file(_PER_CLASS)
    if file is None:
        raise PipelineError(
            f"{experiment.name} ({experiment.run_id}) has no {_PER_CLASS} in MLflow; rerun its experiment"
        )
    table = pd.read_csv(file, keep_default_na=False, dtype={"class": str})
    return table[table["phase"] == experiment.tags["best_phase"]].reset_index(drop=True)


def _splits(metrics: dict[str, float]) -> list[tuple[str, int, float]]:
    """Return the name, number of images and fraction of images of each split."""
    counts = {name: int(metrics.get(f"prepare/{name}_images", 0)) for name in ("train", "validation", "test")}
    whole = sum(counts.values()) or 1
    return [(name, count, count / whole) for name, count in counts.items()]


def _format_interval(figures: dict[str, float], name: str) -> str:
    if f"{name}_low" not in figures:
        return figure(figures[name])
    return f"{figure(figures[name])} ({figure(figures[f'{name}_low'])} to {figure(figures[f'{name}_high'])})"
