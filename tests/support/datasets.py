"""Configured data sets, and made photos with the spectrum of real ones."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.config import DatasetConfig
from pipeline.config.compose import composed
from pipeline.config.validate import check


def dataset(path, *overrides: str, source: str = "folder") -> DatasetConfig:
    return check(composed([f"dataset={source}", f"dataset.path={path}", *overrides])).dataset


def table_dataset(folder: Path, text: str, *overrides: str) -> DatasetConfig:
    """A data set of a CSV file images.csv in `folder`."""
    (folder / "images.csv").write_text(text, encoding="utf-8")
    return dataset(folder / "images.csv", *overrides, source="csv")


def photo(number: int, width: int = 240, height: int = 180) -> Image.Image:
    """A cloud with the spectrum of photos, another one for each number."""
    draws = np.random.default_rng([7, number])
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    cloud = np.fft.irfft2(np.fft.rfft2(draws.standard_normal((3, height, width))) / frequency, (height, width))
    cloud = 127 + 50 * cloud / cloud.std()
    return Image.fromarray(cloud.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")
