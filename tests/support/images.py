"""Made images, and the shortest experiment on them."""

from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (40, 60, 200), "green": (40, 170, 60), "red": (200, 50, 40)}


def draw(colour: tuple[int, ...], number: int, size: int = 40) -> Image.Image:
    """A noisy image of one colour, each number another one."""
    noise = np.random.default_rng([number, *colour]).integers(-40, 40, (size, size, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def write_images(folder: Path, per_class: int = 20, classes: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """A folder of class sub-folders with PNG files."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        # The same image in two classes would be a conflict.
        colour = COLOURS.get(name, tuple(sha256(name.encode()).digest()[:3]))
        for number in range(per_class):
            draw(colour, number).save(folder / name / f"{number:03}.png")
    return folder


def touch(*files: Path) -> None:
    """Write files that are not images."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def small_arguments(images: Path) -> list[str]:
    """Overrides for the shortest whole experiment."""
    short = ["image_size=32", "train.epochs=1", "finetune.epochs=1"]
    return ["dataset=folder", f"dataset.path={images}", f"cache_folder={images.parent}/cache", *short]
