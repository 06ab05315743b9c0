"""Stage report: draw charts and pages from the outputs of the other stages, without TensorFlow."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import PHASES
from pipeline.inputs.manifest import read_manifest
from pipeline.reports.evaluation import Evaluation, read_table
from pipeline.reports.evaluation_charts import evaluation_charts
from pipeline.reports.evaluation_page import summary, write_report
from pipeline.reports.review_pages import write_duplicates, write_label_issues
from pipeline.reports.training_charts import plot_samples, plot_splits, plot_variants, training_curves
from pipeline.stages.settings import Places, ReportSettings
from pipeline.storage.files import read_json
from pipeline.visuals.style import write_png


def run(settings: ReportSettings, places: Places, inputs: Path, out: Path) -> dict[str, str]:
    """Write report.html, summary.md, plots/, duplicates.html and label_issues.html to `out`.

    Returns:
        Empty dictionary, since the result depends on no further environment.
    """
    plots = out / "plots"
    plots.mkdir()
    prepare, manifest = inputs / "prepare", read_manifest(inputs / "prepare")
    plot_splits(read_json(prepare / "metrics.json"), manifest, plots / "splits.png")
    plot_samples(manifest, places.images, settings.experiment["seed"], plots / "samples.png")
    write_duplicates(read_table(prepare / "duplicates.csv"), places.images, out / "duplicates.html")
    write_label_issues(read_table(inputs / "train" / "label_issues.csv"), places.images, out / "label_issues.html")
    for phase in PHASES:
        plot_variants(np.load(inputs / phase / "augmentation.npz")["images"], plots / f"augmentation_{phase}.png")
    curves = training_curves(
        [pd.read_csv(inputs / phase / "history.csv") for phase in PHASES],
        [read_json(inputs / phase / "metrics.json") for phase in PHASES],
    )
    write_png(curves, plots / "curves.png")

    evaluation = Evaluation.read(inputs, settings.experiment, manifest.classes)
    charts = evaluation_charts(evaluation)
    for name, figure in charts.items():
        write_png(figure, plots / f"{name}.png")
    write_report(out / "report.html", evaluation, {"training": curves, **charts})
    (out / "summary.md").write_text(summary(evaluation), encoding="utf-8")
    return {}
