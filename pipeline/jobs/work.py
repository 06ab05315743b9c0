"""Work of a stage, recorded with its result, and estimates from the speed of earlier results."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.jobs.results import RUN
from pipeline.storage.files import Json, read_json

Counts = Mapping[str, int]
"""Numbers of images: in total (`all`), and of the splits `train`, `validation` and `test`."""

# Stages whose results differ in these need different amounts of work per image.
_ALIKE = ("stage", "backbone", "image_size", "precision")
_IMAGES = {"prepare": "all", "train": "train", "finetune": "train", "evaluate": "test"}


def work_of(stage: str, config: Config, counts: Counts | None) -> Json:
    """Return the settings and amounts on which the duration of a stage depends.

    Args:
        stage: One of `pipeline.stages.STAGES`.
        config: Complete configuration.
        counts: Numbers of images; None if they are unknown.
    """
    work: Json = {"stage": stage}
    if stage in _IMAGES:
        work["images"] = counts and counts[_IMAGES[stage]]
    if stage not in ("train", "finetune", "evaluate"):
        return work
    backbone, precision = config.backbone.network, config.hardware.precision
    work |= {"backbone": backbone, "image_size": config.image_size, "precision": precision}
    if stage != "train":
        work["unfreeze"] = config.finetune.unfreeze
    if stage == "finetune" and config.finetune.lora_rank:
        work["lora_rank"] = config.finetune.lora_rank
    if stage == "evaluate":
        return work | {"tta": config.evaluate.tta, "corruptions": config.evaluate.corruptions}
    phase = config.train if stage == "train" else config.finetune
    rounds = (config.finetune.phases if stage == "finetune" else None) or [{}]
    epochs = sum(each.get("epochs", phase.epochs) for each in rounds)
    steps = counts and epochs * math.ceil(counts["train"] / phase.batch_size)
    if stage == "train" and config.train.head != "softmax":
        # Such a head is fitted at once.
        epochs = steps = 1
    return work | {"epochs": epochs, "steps": steps, "views": config.augment.views}


def read_counts(prepared: Path) -> Counts | None:
    """Return the numbers of images in a folder that stage prepare wrote; None if it has none."""
    try:
        metrics = read_json(prepared / "metrics.json")
        splits = {split: metrics[f"{split}_images"] for split in ("train", "validation", "test")}
        return {"all": metrics["images"]} | splits
    except (OSError, ValueError, KeyError):
        return None


@dataclass(frozen=True)
class Earlier:
    """Duration and size of an earlier result."""

    work: Json
    seconds: float
    size: int
    """Size of its files in bytes."""
    ended: float
    """Time of its end, in seconds since the epoch."""


def earlier_results(folders: Iterable[Path]) -> list[Earlier]:
    """Read the work of all results in folders of stages; results without a record of their work are left out."""
    found = []
    for folder in folders:
        try:
            state = read_json(folder / RUN)
            size = sum(file["bytes"] for file in state["files"].values())
            found.append(Earlier(state["work"], state["seconds"], size, (folder / RUN).stat().st_mtime))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def most_alike(work: Json, earlier: Iterable[Earlier]) -> Earlier | None:
    """Return the result whose work is most like `work`, the latest of several; None if none is comparable."""
    comparable = [each for each in earlier if all(each.work.get(name) == work.get(name) for name in _ALIKE)]

    def likeness(each: Earlier) -> tuple[int, float]:
        return sum(each.work.get(name) == value for name, value in work.items()), each.ended

    return max(comparable, key=likeness, default=None)


def estimated_seconds(work: Json, earlier: Iterable[Earlier]) -> float | None:
    """Estimate the seconds of a stage, in proportion to images times epochs; None without a comparable result."""
    alike = most_alike(work, earlier)
    if alike is None:
        return None
    here, there = _amount(work), _amount(alike.work)
    return None if here is None or not there else alike.seconds * here / there


def _amount(work: Json) -> int | None:
    images, epochs = work.get("images", 1), work.get("epochs", 1)
    return None if images is None else images * epochs
