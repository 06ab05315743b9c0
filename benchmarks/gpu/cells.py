"""Cells of the measurement: what is measured at which setting, one change at a time from a base."""

from dataclasses import dataclass, replace
from typing import Any

BACKBONES = ("resnet50", "efficientnet_lite0", "vgg16")
AUGMENTED = "images, augmented"
FEEDS = ("images", AUGMENTED, "features", "features of 3 variants")
_FEED_BATCH, _FEED_SIZE, _FEED_IMAGES = 64, 224, 1600


@dataclass(frozen=True)
class Cell:
    """Measurement of fixed size."""

    part: str
    """Part of the pipeline: feed, extraction or training."""
    subject: str
    """Name of the backbone, or kind of the feed."""
    image_size: int
    images: int
    """Number of images in each measured round."""
    batch: int
    precision: str = "auto"
    """Setting `hardware.precision`, or tf32 for float32 on tensor cores."""
    deterministic: bool = True
    xla: bool = False
    bare: bool = False
    """Whether the bare loop is measured too."""

    @property
    def name(self) -> str:
        """Return the name of its row."""
        changes = {
            self.precision: self.precision != "auto",
            "not deterministic": not self.deterministic,
            "XLA": self.xla,
        }
        setting = [
            f"{self.image_size} px",
            f"batch {self.batch}",
            *(name for name, changed in changes.items() if changed),
        ]
        return f"{self.part}: {self.subject}, {', '.join(setting)}"


@dataclass(frozen=True)
class Sizes:
    """Sizes of the cells on a kind of device."""

    image: int
    batches: tuple[int, int, int]
    """Small, base and large batch size."""
    images: int
    changed: str
    """Backbone on which one setting after the other is changed."""
    trained: tuple[str, ...]
    """Backbones that are trained at the base setting."""


SIZES = {
    "gpu": Sizes(224, (64, 256, 1024), 2048, "resnet50", BACKBONES),
    # Small, so that the command can be tried. VGG16 has the fewest operations, whose tracing takes most of the time.
    "cpu": Sizes(32, (8, 16, 32), 32, "vgg16", ("vgg16",)),
}
"""Sizes by device."""


def cells(device: str, *, quick: bool) -> list[Cell]:
    """Return the cells in the order of their importance, at most 24.

    Args:
        device: A key of `SIZES`.
        quick: Only the feed and one backbone at the base setting.
    """
    sizes = SIZES[device]
    feeds = [Cell("feed", kind, _FEED_SIZE, _FEED_IMAGES, _FEED_BATCH, bare=True) for kind in FEEDS]
    base = Cell("extraction", sizes.changed, sizes.image, sizes.images, sizes.batches[1], bare=True)
    training = replace(base, part="training", bare=not quick)
    if quick:
        return [*feeds, base, training]
    precisions: list[dict[str, Any]] = [
        {"precision": precision} for precision in (("float32", "tf32") if device == "gpu" else ("float32",))
    ]
    batches: list[dict[str, Any]] = [
        {"batch": batch, "images": max(batch, sizes.images)} for batch in (sizes.batches[0], sizes.batches[2])
    ]
    trained = [replace(training, subject=backbone, bare=backbone == sizes.changed) for backbone in sizes.trained]
    return [
        *feeds,
        *(replace(base, subject=backbone) for backbone in BACKBONES),
        *trained,
        *(replace(cell, bare=False, deterministic=False) for cell in trained),
        *(replace(base, bare=False, **change) for change in [*precisions, *batches]),
        *(replace(training, bare=False, **change) for change in [*precisions, *batches]),
        replace(training, bare=False, deterministic=False, xla=True),
    ]
