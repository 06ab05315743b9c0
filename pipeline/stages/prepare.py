"""Stage prepare: find the images, check them, and split them for training, validation and testing."""

import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.data.curation import Curated, curate
from pipeline.data.drift import appearance, class_counts, drift, drift_warnings, imbalance
from pipeline.data.inspection import inspect
from pipeline.data.leaks import Leaks, refuse_leaks
from pipeline.data.listing import Listing
from pipeline.data.sources import image_folder, list_images
from pipeline.data.splits import SPLITS
from pipeline.inputs.decoding import decode
from pipeline.inputs.manifest import CLASSES, MANIFEST
from pipeline.reports.data_charts import plot_samples, plot_splits
from pipeline.reports.duplicates_page import write_duplicates
from pipeline.storage.files import write_json
from pipeline.system.paths import resolve

log = logging.getLogger(__name__)

INPUTS = ()


def run(config: Config, inputs: Path, out: Path, _report: Callable) -> dict[str, str]:
    """Write manifest.parquet, classes.json, quarantine.csv, duplicates.csv, duplicates.html, metrics.json, samples.png and splits.png to `out`.

    Returns:
        what the result depends on beside the configuration.

    Raises:
        PipelineError: what the data set lists can't be used; leaks between given splits leave leaks.html in `inputs`.
    """
    dataset, leaks_page = config.dataset, inputs / "leaks.html"
    leaks_page.unlink(missing_ok=True)
    folder, listing = image_folder(dataset), list_images(dataset)
    inspected = inspect(folder, listing.images, resolve(config.cache_folder), dataset.max_pixels)

    def refuse(duplicates: pd.DataFrame, leaks: Leaks) -> None:
        write_duplicates(duplicates, folder, leaks_page)
        refuse_leaks(leaks, folder, leaks_page)

    curated = curate(inspected, listing.classes, dataset, config.seed, refuse)
    manifest = curated.manifest
    counts, drifted = class_counts(manifest, listing.classes), drift(manifest, listing.classes)
    _tell(listing, curated)
    for remark in drift_warnings(drifted, dataset.drift):
        log.warning(remark)

    manifest.to_parquet(out / MANIFEST, index=False)
    write_json(out / CLASSES, listing.classes)
    curated.quarantined.to_csv(out / "quarantine.csv", index=False)
    curated.duplicates.to_csv(out / "duplicates.csv", index=False)
    write_duplicates(curated.duplicates, folder, out / "duplicates.html")
    write_json(out / "metrics.json", summarise(curated, listing, counts) | {"drift": drifted})
    plot_splits(counts, appearance(manifest), manifest["split"], out / "splits.png")
    _draw_samples(folder, manifest, config.seed, out / "samples.png")
    return {"pillow": version("Pillow")}


def summarise(curated: Curated, listing: Listing, counts: pd.DataFrame) -> dict:
    """Numbers of images in all and by split, by class and format; their sizes; what was left out, and what was found."""
    manifest = curated.manifest
    by_split = manifest["split"].value_counts()
    return {
        "images": len(manifest),
        **{f"{split}_images": int(by_split.get(split, 0)) for split in SPLITS},
        "classes": len(listing.classes),
        "quarantined": len(curated.quarantined),
        "left_out": sum(listing.left_out.values()),
        **curated.figures,
        "imbalance": imbalance(counts["train"]),
        "median_width": float(manifest["width"].median()),
        "median_height": float(manifest["height"].median()),
        "smallest_side": int(manifest[["width", "height"]].min(axis=None)),
        "largest_side": int(manifest[["width", "height"]].max(axis=None)),
        "formats": {name: int(count) for name, count in sorted(manifest["format"].value_counts().items())},
        "class_counts": {split: {name: int(count) for name, count in counts[split].items()} for split in SPLITS},
        "class_shares": {
            split: {name: float(share) for name, share in (counts[split] / counts[split].sum()).items()}
            for split in SPLITS
        },
    }


def _tell(listing: Listing, curated: Curated) -> None:
    manifest, figures = curated.manifest, curated.figures
    for reason, count in sorted(listing.left_out.items()):
        log.warning("%d files left out: %s", count, reason)
    if len(curated.quarantined):
        first = curated.quarantined.iloc[0]
        log.warning(
            "%d images are quarantined, first %r (%s); see quarantine.csv",
            len(curated.quarantined), first["path"], first["reason"],
        )  # fmt: skip
    if figures["duplicates"]:
        log.warning(
            "%d images are duplicates of others (%d groups), %d of them under several labels; see duplicates.html",
            figures["duplicates"], figures["duplicate_groups"], figures["label_conflicts"],
        )  # fmt: skip
    if figures["leaked"]:
        log.warning(
            "%d images are in one given split and, the same or of the same group, in another; %d of them dropped",
            figures["leaked"], figures["dropped"],
        )  # fmt: skip
    for split, rows in manifest.groupby("split"):
        missing = set(listing.classes) - set(rows["label"])
        if missing:
            log.warning("The %s split has no image of %s", split, ", ".join(sorted(missing)))
    log.info(
        "%d images of %d classes: %s", len(manifest), len(listing.classes), manifest["split"].value_counts().to_dict()
    )


def _draw_samples(folder: Path, manifest: pd.DataFrame, seed: int, file: Path) -> None:
    training = manifest[manifest["split"] == "train"]
    chosen = training.iloc[np.random.default_rng(seed).permutation(len(training))[:9]]
    plot_samples(
        [decode((folder / path).read_bytes()).image for path in chosen["path"]], chosen["label"].tolist(), file
    )
