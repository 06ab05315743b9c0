"""Stage prepare: which pictures there are, which can be read, and which serves for training, validation and testing."""

from pipeline.entry import main

if __name__ == "__main__":
    # Ends the process; what is imported below takes seconds, and `--help` needs none of it.
    main("prepare")

import hashlib
import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.config import Config
from pipeline.data.decoding import UndecodableError, decode
from pipeline.data.listing import Listing, Picture, list_pictures, pictures_folder
from pipeline.data.manifest import CLASSES, MANIFEST
from pipeline.data.pictures import on_all_cores
from pipeline.data.splits import SPLITS, assign_splits
from pipeline.errors import PipelineError
from pipeline.files import write_json
from pipeline.plots import plot_samples
from pipeline.terminal import progress

log = logging.getLogger(__name__)

INPUTS = ()


def run(config: Config, _inputs: Path, out: Path, _report: Callable) -> dict[str, str]:
    """Write manifest.parquet, classes.json, quarantine.csv, metrics.json and samples.png to `out`.

    Returns:
        what the result depends on beside the configuration.
    """
    folder = pictures_folder(config.dataset)
    listing = list_pictures(folder)
    readable, quarantined = inspect(folder, listing.pictures)
    readable["label"] = pd.Categorical(readable["label"], categories=listing.classes)
    lost = {picture.split for picture in listing.pictures if picture.split} - set(readable["split"])
    if lost:
        raise PipelineError(
            f"No picture of the given {' and '.join(sorted(lost))} split can be read; mend or remove it: {folder}"
        )
    readable["split"] = assign_splits(readable, config.dataset, config.seed)
    manifest = readable[readable["split"].notna()].astype({"label": str}).reset_index(drop=True)
    _tell(listing, manifest, quarantined, len(readable) - len(manifest))

    manifest.to_parquet(out / MANIFEST, index=False)
    write_json(out / CLASSES, listing.classes)
    quarantined.to_csv(out / "quarantine.csv", index=False)
    write_json(out / "metrics.json", summarise(manifest, quarantined, listing))
    _draw_samples(folder, manifest, config.seed, out / "samples.png")
    return {"pillow": version("Pillow")}


def inspect(folder: Path, pictures: list[Picture]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read and decode every picture once.

    Returns:
        (readable, quarantined). Readable: path, label, split (given, or None), sha256, width, height (upright, in pixels), format,
        orientation (EXIF, 1 to 8), group (None). Quarantined: path, reason, sha256 (empty where the file can't be read).
    """
    with progress("reading pictures", len(pictures)) as advance:
        rows = []
        for row in on_all_cores(lambda picture: _inspect(folder, picture), pictures):
            rows.append(row)
            advance()
    readable = [row for row in rows if "reason" not in row]
    quarantined = [row for row in rows if "reason" in row]
    columns = ["path", "label", "split", "sha256", "width", "height", "format", "orientation", "group"]
    return pd.DataFrame(readable, columns=columns), pd.DataFrame(quarantined, columns=["path", "reason", "sha256"])


def _inspect(folder: Path, picture: Picture) -> dict[str, Any]:
    sha256 = ""
    if not _is_utf8(picture.path):
        return {
            "path": picture.path.encode(errors="backslashreplace").decode(),
            "reason": "name is not UTF-8",
            "sha256": "",
        }
    try:
        data = (folder / picture.path).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        decoded = decode(data)
    except (OSError, UndecodableError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return {"path": picture.path, "reason": reason, "sha256": sha256}
    return {
        "path": picture.path,
        "label": picture.label,
        "split": picture.split,
        "sha256": sha256,
        "width": decoded.image.width,
        "height": decoded.image.height,
        "format": decoded.format,
        "orientation": decoded.orientation,
        "group": None,
    }


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def summarise(manifest: pd.DataFrame, quarantined: pd.DataFrame, listing: Listing) -> dict[str, int]:
    """Counts: images in all and by split, classes, quarantined and left-out files."""
    counts = manifest["split"].value_counts()
    by_split = {f"{split}_images": int(counts.get(split, 0)) for split in SPLITS}
    left_out = sum(listing.left_out.values())
    return {
        "images": len(manifest),
        **by_split,
        "classes": len(listing.classes),
        "quarantined": len(quarantined),
        "left_out": left_out,
    }


def _tell(listing: Listing, manifest: pd.DataFrame, quarantined: pd.DataFrame, put_aside: int) -> None:
    for reason, count in sorted(listing.left_out.items()):
        log.warning("%d files left out: %s", count, reason)
    if put_aside:
        log.warning("%d pictures of the given test split put aside, since dataset.test=validation", put_aside)
    if len(quarantined):
        first = quarantined.iloc[0]
        log.warning(
            "%d pictures can't be read and are quarantined, first %s (%s); see quarantine.csv",
            len(quarantined),
            first["path"],
            first["reason"],
        )
    for split, rows in manifest.groupby("split"):
        missing = set(listing.classes) - set(rows["label"])
        if missing:
            log.warning("The %s split has no picture of %s", split, ", ".join(sorted(missing)))
    log.info(
        "%d pictures of %d classes: %s", len(manifest), len(listing.classes), manifest["split"].value_counts().to_dict()
    )


def _draw_samples(folder: Path, manifest: pd.DataFrame, seed: int, file: Path) -> None:
    training = manifest[manifest["split"] == "train"]
    chosen = training.iloc[np.random.default_rng(seed).permutation(len(training))[:9]]
    plot_samples(
        [decode((folder / path).read_bytes()).image for path in chosen["path"]], chosen["label"].tolist(), file
    )
