"""scikit-learn's handwritten digits as PNG files: a data set that needs no download."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from PIL import Image

from pipeline.storage.files import whole_folder

if TYPE_CHECKING:
    from sklearn.utils import Bunch


def write_digits(folder: Path) -> Path:
    """Write the 1,797 images as `folder/<digit>/<number>.png` (8x8, grey), unless the folder exists; return it.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (UCI Machine Learning Repository), test
    images.
    """
    if folder.is_dir():
        return folder
    # Takes a second to import, and most calls end above.
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            _write(digits, folder)
    return folder


def _write(digits: "Bunch", folder: Path) -> None:
    with whole_folder(folder) as unfinished:
        for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            # Values are 0 to 16.
            grey = np.round(pixels * 255 / 16).astype(np.uint8)
            target = unfinished / str(label) / f"{number:04}.png"
            target.parent.mkdir(exist_ok=True)
            Image.fromarray(grey).save(target)
