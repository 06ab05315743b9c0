"""Synthetic images for benchmarks, all of which differ clearly."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

SEED = 20


class ImageMaker:
    """Generator of images that blend sections of random clouds, with the spectrum of photos, and a few rectangles."""

    def __init__(self, side: int, sheets: int = 6):
        """Create `sheets` square clouds of `side` pixels."""
        draws = np.random.default_rng(SEED)
        frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
        frequency[0, 0] = 1
        self._sheets = []
        for _ in range(sheets):
            spectrum = np.fft.rfft2(draws.standard_normal((3, side, side))) / frequency**1.1
            cloud = np.fft.irfft2(spectrum)
            cloud = 127 + 55 * cloud / cloud.std(axis=(1, 2), keepdims=True)
            self._sheets.append(Image.fromarray(cloud.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)))

    def draw(self, number: int, width: int, height: int) -> Image.Image:
        """Return the image with the given number."""
        draws = np.random.default_rng([SEED, number])
        layers = []
        for _ in range(2):
            sheet = self._sheets[draws.integers(len(self._sheets))]
            span = draws.uniform(0.25, 0.9) * min(sheet.width / width, sheet.height / height)
            x, y = draws.uniform(0, sheet.width - span * width), draws.uniform(0, sheet.height - span * height)
            window = (x, y, x + span * width, y + span * height)
            layers.append(sheet.resize((width, height), Image.Resampling.BILINEAR, box=window))
        image = Image.blend(*layers, draws.uniform(0.3, 0.7))
        for _ in range(draws.integers(1, 5)):
            shape = (draws.uniform(0.1, 0.5, 2) * (width, height)).astype(int) + 1
            left, top = (draws.uniform(-0.1, 0.8, 2) * (width, height)).astype(int).tolist()
            colour = tuple(draws.integers(0, 256, 3).tolist())
            image.paste(colour, (left, top, left + int(shape[0]), top + int(shape[1])))
        return image


def write_made_images(folder: Path, numbers: range, width: int, height: int) -> None:
    """Write the synthetic images with the given numbers as JPEG files in two class folders."""
    maker = ImageMaker(3 * max(width, height))
    for name in ("even", "odd"):
        (folder / name).mkdir(parents=True, exist_ok=True)

    def write(number: int) -> None:
        image = maker.draw(number, width, height)
        image.save(folder / ("odd" if number % 2 else "even") / f"{number:07}.jpg", quality=85)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, numbers))
