"""Stage prepare: find the images, check them, and split them into training, validation and test images."""

import logging
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from pipeline.data.curation import Curated, curate
from pipeline.data.depths import depth_message
from pipeline.data.drift import class_counts, drift, drift_warnings, imbalance
from pipeline.data.inspection import inspect
from pipeline.data.listing import Listing
from pipeline.data.sources import list_source, refuse_absent
from pipeline.inputs.manifest import CLASSES, MANIFEST, sample_depth
from pipeline.stages.settings import Places, PrepareSettings
from pipeline.storage.files import Json, write_json
from pipeline.system.wording import some

log = logging.getLogger(__name__)


def run(settings: PrepareSettings, places: Places, out: Path) -> dict[str, str]:
    """Write manifest.parquet, classes.json, quarantine.csv, duplicates.csv and metrics.json to `out`.

    Returns:
        Versions of packages that the result depends on, for run.json.

    Raises:
        PipelineError: The data set can't be used.
        LeakError: The data set's own splits share images.
    """
    dataset = settings.dataset
    listing = list_source(dataset, places.images, places.table)
    refuse_absent(listing)
    for remark in listing.remarks:
        log.warning(remark)
    inspected = inspect(places.images, listing.images, places.cache.folder, dataset.max_pixels)
    curated = curate(inspected, listing.classes, dataset, settings.seed)
    manifest = curated.manifest
    counts, drifted = class_counts(manifest, listing.classes), drift(manifest, listing.classes)
    _log_findings(listing, curated)
    for warning in drift_warnings(drifted, dataset.drift):
        log.warning(warning)

    manifest.to_parquet(out / MANIFEST, index=False)
    write_json(out / CLASSES, listing.classes)
    curated.quarantined.to_csv(out / "quarantine.csv", index=False)
    curated.duplicates.to_csv(out / "duplicates.csv", index=False)
    write_json(out / "metrics.json", summarise(curated, listing, counts) | {"drift": drifted})
    return {"pillow": version("Pillow")}


def summarise(curated: Curated, listing: Listing, counts: pd.DataFrame) -> Json:
    """Count the images in total and by split, class and format, and summarise their sizes and problems."""
    manifest = curated.manifest
    return {
        "images": len(manifest),
        **{f"{split}_images": int(count) for split, count in counts.sum().items()},
        "classes": len(listing.classes),
        "quarantined": len(curated.quarantined),
        "left_out": sum(listing.left_out.values()),
        **curated.counts,
        "imbalance": imbalance(counts["train"]),
        "median_width": float(manifest["width"].median()),
        "median_height": float(manifest["height"].median()),
        "smallest_side": int(manifest[["width", "height"]].to_numpy().min()),
        "largest_side": int(manifest[["width", "height"]].to_numpy().max()),
        **({"depth": sample_depth(manifest)} if curated.depths else {}),
        "depths": curated.depths,
        "formats": manifest["format"].value_counts().sort_index().to_dict(),
        "class_counts": counts.to_dict(),
        "class_shares": (counts / counts.sum()).to_dict(),
    }


def _log_findings(listing: Listing, curated: Curated) -> None:
    manifest, found = curated.manifest, curated.counts
    for reason, count in sorted(listing.left_out.items()):
        log.warning("%d files left out: %s", count, reason)
    if len(curated.quarantined):
        first = curated.quarantined.iloc[0]
        log.warning(
            "%d images are quarantined, the first is %r (%s); see quarantine.csv",
            len(curated.quarantined), first["path"], first["reason"],
        )  # fmt: skip
    if found["duplicates"]:
        log.warning(
            "%d images are duplicates of others (%d groups), %d of them with conflicting labels; see duplicates.html",
            found["duplicates"], found["duplicate_groups"], found["label_conflicts"],
        )  # fmt: skip
    if found["leaked"]:
        log.warning(
            "%d images appear in more than one given split (same image or same group); %d dropped",
            found["leaked"], found["dropped"],
        )  # fmt: skip
    if curated.depths:
        level = logging.WARNING if len(curated.depths) > 1 else logging.INFO
        log.log(level, depth_message(sample_depth(manifest), curated.depths))
    for split, rows in manifest.groupby("split"):
        if missing := set(listing.classes) - set(rows["label"]):
            log.warning("The %s split has no images of these classes: %s", split, some(sorted(missing)))
    log.info(
        "%d images of %d classes: %s", len(manifest), len(listing.classes), manifest["split"].value_counts().to_dict()
    )
