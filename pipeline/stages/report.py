"""Stage report: write pages from the outputs of the other stages, without TensorFlow."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import PHASES
from pipeline.inputs.manifest import read_manifest
from pipeline.reports.data_page import write_data_page
from pipeline.reports.evaluation import Evaluation, read_table
from pipeline.reports.evaluation_page import summary, write_report
from pipeline.reports.review_pages import write_duplicates, write_label_issues
from pipeline.reports.training_charts import training_curves
from pipeline.stages.settings import Places, ReportSettings
from pipeline.storage.files import Json, read_json


def run(settings: ReportSettings, places: Places, inputs: Path, out: Path) -> dict[str, str]:
    """Write report.html, summary.md, data.html, duplicates.html and label_issues.html to `out`.

    Returns:
        Empty dictionary, since the result depends on no further environment.
    """
    prepare, manifest = inputs / "prepare", read_manifest(inputs / "prepare")
    write_data_page(
        out / "data.html",
        manifest,
        places.images,
        counts=read_json(prepare / "metrics.json")["class_counts"],
        augmented={phase: np.load(inputs / phase / "augmentation.npz")["images"] for phase in PHASES},
        seed=settings.experiment["seed"],
    )
    write_duplicates(read_table(prepare / "duplicates.csv"), places.images, out / "duplicates.html")
    write_label_issues(read_table(inputs / "train" / "label_issues.csv"), places.images, out / "label_issues.html")
    curves = training_curves(
        [pd.read_csv(inputs / phase / "history.csv") for phase in PHASES],
        [read_json(inputs / phase / "metrics.json") for phase in PHASES],
        other_loss=_trains_on_other_labels(settings.experiment),
    )
    evaluation = Evaluation.read(inputs, manifest, settings.experiment, settings.differences)
    write_report(out / "report.html", evaluation, curves, places.images)
    (out / "summary.md").write_text(summary(evaluation), encoding="utf-8")
    return {}


def _trains_on_other_labels(experiment: Json) -> bool:
    smoothed = any(experiment[phase]["label_smoothing"] for phase in PHASES)
    return smoothed or bool(experiment["augment"]["mixup"] or experiment["augment"]["cutmix"])
