"""Common image corruptions at five severities, and the accuracy of a model under them.

Strengths are those for images of 224 pixels; lengths in pixels scale with the shorter side of the image. Frost, snow
and glass blur are omitted, because they need additional image files or seconds per image. The elastic transform is
omitted, because its strengths are defined for one image size only.

Source: D. Hendrycks, T. Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations
("ImageNet-C"), ICLR 2019.
"""

import io
import zlib
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage, signal

from pipeline.config import EvaluateConfig
from pipeline.evaluation.intervals import proportion_estimate, wilson
from pipeline.inputs.images import DecodedImages
from pipeline.system.machine import on_all_cores
from pipeline.system.terminal import progress

SEVERITIES = (1, 2, 3, 4, 5)
COLUMNS = ["corruption", "severity", "images", "accuracy", "accuracy_low", "accuracy_high"]
_SIDE = 224

Generator = np.random.Generator
PredictPixels = Callable[[np.ndarray], np.ndarray]


def corrupt(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Apply one of `CORRUPTIONS` to an image, uint8 [h, w, 3], at a severity from 1 to 5.

    The same image, corruption, severity and seed give the same result.
    """
    generator = np.random.default_rng([seed, severity, zlib.crc32(name.encode())])
    values = CORRUPTIONS[name](image.astype(np.float32) / 255, severity - 1, generator)
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(x: np.ndarray, level: int, generator: Generator) -> np.ndarray:
    return x + generator.normal(0, (0.08, 0.12, 0.18, 0.26, 0.38)[level], x.shape)


def _shot_noise(x: np.ndarray, level: int, generator: Generator) -> np.ndarray:
    photons = (60, 25, 12, 5, 3)[level]
    return generator.poisson(x * photons) / photons


def _impulse_noise(x: np.ndarray, level: int, generator: Generator) -> np.ndarray:
    fraction = (0.03, 0.06, 0.09, 0.17, 0.27)[level]
    draws = generator.random(x.shape)
    return np.where(draws < fraction / 2, 0, np.where(draws < fraction, 1, x))


def _defocus_blur(x: np.ndarray, level: int, _: Generator) -> np.ndarray:
    radius = (3, 4, 6, 8, 10)[level] * _shorter(x) / _SIDE
    reach = int(np.ceil(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # A disc with an anti-aliased edge, so that small radii give different kernels too.
    return _convolve(x, np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1))


def _motion_blur(x: np.ndarray, level: int, generator: Generator) -> np.ndarray:
    lengths = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[level]
    radius, deviation = (length * _shorter(x) / _SIDE for length in lengths)
    angle, reach = np.deg2rad(generator.uniform(-45, 45)), max(1, int(np.ceil(radius)))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    line = np.exp(-(along**2) / (2 * deviation**2)) * np.clip(1 - np.abs(across), 0, 1) * (np.abs(along) <= radius)
    return _convolve(x, line)


def _zoom_blur(x: np.ndarray, level: int, _: Generator) -> np.ndarray:
    furthest, step = ((1.10, 0.01), (1.15, 0.01), (1.20, 0.02), (1.25, 0.02), (1.30, 0.03))[level]
    image = Image.fromarray(np.round(x * 255).astype(np.uint8))
    sum_, zooms = x.copy(), np.arange(1, furthest + step / 2, step)
    for zoom in zooms:
        across, down = (side * (1 - 1 / zoom) / 2 for side in image.size)
        box = (across, down, image.width - across, image.height - down)
        sum_ += np.asarray(image.resize(image.size, Image.Resampling.BILINEAR, box=box), np.float32) / 255
    return sum_ / (len(zooms) + 1)


def _fog(x: np.ndarray, level: int, generator: Generator) -> np.ndarray:
    strength, roughness = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[level]
    clouds = _clouds(max(x.shape[:2]), roughness, generator)[: x.shape[0], : x.shape[1], np.newaxis]
    return (x + strength * clouds) * x.max() / (x.max() + strength)


def _brightness(x: np.ndarray, level: int, _: Generator) -> np.ndarray:
    # Increases the value in HSV, which is the highest channel; the other channels keep their ratio to it.
    highest = x.max(axis=2, keepdims=True)
    brighter = np.minimum(highest + (0.1, 0.2, 0.3, 0.4, 0.5)[level], 1)
    return np.where(highest > 0, x * brighter / np.maximum(highest, 1e-6), brighter)


def _contrast(x: np.ndarray, level: int, _: Generator) -> np.ndarray:
    means = x.mean(axis=(0, 1), keepdims=True)
    return (x - means) * (0.4, 0.3, 0.2, 0.1, 0.05)[level] + means


def _pixelate(x: np.ndarray, level: int, _: Generator) -> np.ndarray:
    image, fraction = Image.fromarray(np.round(x * 255).astype(np.uint8)), (0.6, 0.5, 0.4, 0.3, 0.25)[level]
    width, height = (max(1, round(side * fraction)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST), np.float32) / 255


def _jpeg_compression(x: np.ndarray, level: int, _: Generator) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.round(x * 255).astype(np.uint8)).save(buffer, "JPEG", quality=(25, 18, 15, 10, 7)[level])
    return np.asarray(Image.open(buffer), np.float32) / 255


def _convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    reach = kernel.shape[0] // 2
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), "reflect" if reach < _shorter(x) else "edge")
    return signal.fftconvolve(padded, (kernel / kernel.sum())[..., np.newaxis], mode="valid", axes=(0, 1))


def _shorter(x: np.ndarray) -> int:
    return min(x.shape[:2])


def _clouds(side: int, roughness: float, generator: Generator) -> np.ndarray:
    """Generate noise on all scales, float [side, side] in [0, 1].

    Each halving of the scale divides the amplitude by `roughness`, which gives the spectrum of midpoint displacement.
    """
    total, strength, cells = np.zeros((side, side)), 1.0, 1
    while cells < side:
        coarse = generator.random((cells + 2, cells + 2)) - 0.5
        fine = ndimage.zoom(coarse, side / cells, order=1, grid_mode=True, mode="nearest")
        total += strength * fine[:side, :side]
        strength, cells = strength / roughness, cells * 2
    total -= total.min()
    return total / max(total.max(), 1e-9)


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, Generator], np.ndarray]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": _defocus_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}


def accuracy_under_corruptions(
    images: DecodedImages, labels: np.ndarray, *, predict: PredictPixels, evaluate: EvaluateConfig, seed: int
) -> pd.DataFrame:
    """Compute the accuracy, with its Wilson interval, under each corruption at each severity.

    Args:
        images: Test images.
        labels: Class indices of the images, int [n].
        predict: Function from images, uint8 [b, h, w, 3], to class probabilities, [b, classes].
        evaluate: Settings; used are the number of images to corrupt, the batch size and the confidence level.
        seed: Seed of the choice of images and of the corruptions.

    Returns:
        One row per corruption and severity, with the columns `COLUMNS`.
    """
    indices = _chosen_images(len(labels), evaluate.corruption_images, seed)
    parts = np.split(indices, range(evaluate.batch_size, len(indices), evaluate.batch_size))
    rows = []
    with progress("corrupted images", len(CORRUPTIONS) * len(SEVERITIES) * len(indices)) as advance:
        for name, severity in product(CORRUPTIONS, SEVERITIES):
            hits = 0
            for part in parts:
                corrupted = np.stack(list(on_all_cores(partial(_corrupt_image, images, name, severity, seed), part)))
                hits += int((predict(corrupted).argmax(axis=1) == labels[part]).sum())
                advance(len(part), note=f"{name} {severity}")
            low, high = wilson(hits, len(indices), evaluate.confidence)
            rows.append((name, severity, len(indices), hits / len(indices), float(low), float(high)))
    return pd.DataFrame(rows, columns=COLUMNS)


def corruption_metrics(table: pd.DataFrame, hits: np.ndarray, evaluate: EvaluateConfig, seed: int) -> dict[str, float]:
    """Summarise accuracy under corruptions.

    Args:
        table: Table returned by `accuracy_under_corruptions`.
        hits: Whether each test image, uncorrupted, is predicted correctly, bool [n].
        evaluate: Settings; used are the number of images to corrupt and the confidence level.
        seed: Seed of the choice of images.

    Returns:
        The mean accuracy over all corruptions (mean), the accuracy under each corruption by name, and the number of
        images. The keys clean, clean_low and clean_high are the accuracy on the same images without corruption.
    """
    clean = hits[_chosen_images(len(hits), evaluate.corruption_images, seed)]
    by_corruption = table.groupby("corruption", sort=False)["accuracy"].mean()
    return {
        "mean": float(by_corruption.mean()),
        **proportion_estimate(clean, evaluate.confidence).named("clean"),
        "images": len(clean),
        **{str(name): float(accuracy) for name, accuracy in by_corruption.items()},
    }


def _chosen_images(count: int, limit: int | None, seed: int) -> np.ndarray:
    """Return the sorted indices of the images to corrupt: all `count`, or a random sample of `limit`.

    Returns:
        int64 [m].
    """
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def _corrupt_image(images: DecodedImages, name: str, severity: int, seed: int, index: int) -> np.ndarray:
    return corrupt(images.take(np.array([index]))[0], name, severity, seed + int(index))
