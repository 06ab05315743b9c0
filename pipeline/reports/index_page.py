"""Index page of a job's folder: where and when its results were computed, and links to everything that is there."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from rich.filesize import decimal

from pipeline.storage.files import Json, files_below, read_json
from pipeline.system.terminal import duration
from pipeline.tracking.origin import RunOrigin
from pipeline.visuals.pages import write_page

INDEX = "index.html"
"""Name of the page in the job's folder. It holds dates and ids, so that it belongs to no stage."""

_PAGES = {
    "report.html": ("Report", "figures with intervals, charts, mistakes, settings"),
    "data.html": ("Data", "images of every class and split, and their augmentation"),
    "label_issues.html": ("Label issues", "training images whose label is doubtful"),
    "duplicates.html": ("Duplicates", "files that show the same image"),
}
_FILES = {file: about for file, (_, about) in _PAGES.items()} | {
    "manifest.parquet": "one row for each image: path, label, split, digest, size",
    "classes.json": "names of the classes, in the order of the network's outputs",
    "quarantine.csv": "files that were left out, with reasons",
    "duplicates.csv": "groups of files that show the same image",
    "model.keras": "the classifier, for Keras",
    "history.csv": "loss and accuracy of each epoch",
    "metrics.json": "figures of the stage",
    "rates.csv": "learning rate of each batch",
    "augmentation.npz": "examples of augmented images",
    "label_issues.csv": "doubtful labels, most doubtful first",
    "predictions.parquet": "probabilities of each test image",
    "per_class.csv": "precision and recall of each class",
    "confusion.csv": "test images by label and prediction",
    "predicted_classes.csv": "label and prediction of each test image, for DVC's plots",
    "curves.csv": "ROC and precision-recall curves",
    "reliability.csv": "confidence and accuracy by bin",
    "corruptions.csv": "accuracy on corrupted test images",
    "gallery.csv": "test images that the report shows",
    "gallery.npz": "their pixels and heat maps",
    "neighbours.csv": "training images that are most similar to these test images",
    "vectors.npz": "vectors of test images, for the map in the report",
    "speed.json": "milliseconds for one prediction",
    "summary.md": "the result in a few lines",
    "headline.json": "the figures of DVC's tables",
    "calibration.json": "temperatures fitted on the validation images",
    "run.json": "when and where the result was computed, and digests of its files",
}


def write_index(root: Path, stages: Sequence[str], origin: RunOrigin, images: Path) -> None:
    """Write the index page of a job's folder.

    Args:
        root: Folder with the outputs of the stages.
        stages: The stages that have outputs there, in their order.
        origin: Run with the results.
        images: Base folder of the paths in the manifest. Pages that are opened from the index link to the images.
    """
    report, figures = root / "report", read_json(root / "evaluate" / "headline.json")
    where = f"?images={quote(images.resolve().as_uri() + '/', safe='')}"
    write_page(
        "index.html",
        root / INDEX,
        title=origin.name or root.name,
        written=f"{datetime.now().astimezone():%d %B %Y, %H:%M %Z}",
        origin=origin,
        figures=figures,
        images=images,
        pages=[(f"report/{file}{where}", *words) for file, words in _PAGES.items() if (report / file).exists()],
        logs=sorted(file.name for file in root.glob("*.log")),
        stages=[_stage(root, stage, origin) for stage in stages],
    )


def _stage(root: Path, stage: str, origin: RunOrigin) -> Json:
    """Return what the page says of a stage: its name, its time, where it was computed, and its files."""
    state = read_json(root / stage / "run.json")
    elsewhere = "" if state["run_id"] == origin.run_id else state["run_id"]
    files = [_file(root, file) for file in files_below(root / stage)]
    return {"name": stage, "took": duration(state["seconds"]), "elsewhere": elsewhere, "files": files}


def _file(root: Path, file: Path) -> Sequence[str]:
    place = file.relative_to(root).as_posix()
    return quote(place), place, decimal(file.stat().st_size), _FILES.get(file.name, "")
