"""Studies of `benchmarks.ablation`: the overrides of their rows, and their images."""

import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data.bundled import write_digits
from pipeline.storage.files import whole_folder
from pipeline.system.paths import CODE

IMAGES = CODE / "cache" / "recipes"
EXPERIMENT = "recipes"
"""Name of the experiment in MLflow."""
# Training images and epochs of the reduced studies; fewer for cats_dogs and digits, so that they take only hours.
_REDUCED = {"clothing": (1000, 8), "cats_dogs": (500, 4), "digits": (500, 4)}
_HELD_OUT = 300

ABLATION = {
    "base": [],
    "no warm-up": ["finetune.warmup_epochs=0"],
    "constant rate": ["finetune.schedule=constant"],
    "no label smoothing": ["finetune.label_smoothing=0"],
    "no augmentation": ["augment=none"],
    "BatchNorm adapts": ["finetune.freeze_batch_norm=false"],
    "upper part only": ["finetune.unfreeze=${backbone.unfreeze}"],
    "not drawn back towards phase 1": ["finetune.interpolate=null"],
    "rate 1e-3": ["finetune.learning_rate=1e-3"],
    "rate 1e-4": ["finetune.learning_rate=1e-4"],
    "the last epoch's weights": ["finetune.restore_best=false"],
    "warm-up and cosine alone": ["finetune.label_smoothing=0", "augment=none"],
    "with weight decay 1e-3": ["finetune.weight_decay=1e-3"],
    "with dropout 0.3": ["finetune.dropout=0.3"],
    "with EMA 0.98": ["finetune.ema=0.98"],
    "with rate decay 0.8": ["finetune.rate_decay=0.8"],
    "with stochastic depth 0.1": ["finetune.stochastic_depth=0.1"],
    "with clipping 1": ["finetune.clip_norm=1"],
    "with MixUp 0.2": ["augment.mixup=0.2"],
    "with CutMix 1": ["augment.cutmix=1"],
    "with RandAugment": ["augment.random_operations=2", "augment.random_strength=0.3"],
    "with erasing": ["augment.erasing=0.25"],
    "with colour jitter": ["augment.brightness=0.1", "augment.contrast=0.2", "augment.saturation=0.2"],
    "with crops": ["augment.crop_area=0.5", "augment.zoom_in=0", "augment.zoom_out=0"],
    "one cycle": ["finetune.schedule=one_cycle"],
    "SGD": ["finetune.optimizer=sgd", "finetune.learning_rate=0.01"],
    "with TTA": ["evaluate.tta=flip_crops"],
    "gradual unfreezing": ["finetune.phases=[{unfreeze:-2,epochs:3},{unfreeze:all,epochs:5}]"],
}
PRESETS = {
    "default": [],
    "article": ["finetune=article", "augment=article"],
    "light": ["finetune=light"],
    "full": ["finetune=full"],
    "full, EMA and TTA": ["finetune=full", "finetune.ema=0.98", "evaluate.tta=flip_crops"],
}


@dataclass(frozen=True)
class Study:
    """Set of configurations, each a row of a table, that are compared with the first one on the same images."""

    title: str
    rows: dict[str, list[str]]
    shared: list[str]
    reduced: bool
    """Whether only 1,000 or 500 training images are used, at 112 px (digits: 96)."""

    def folder(self, data: str) -> Path:
        """Return the folder of the study's images."""
        return IMAGES / f"{data}-{'reduced' if self.reduced else 'full'}"


STUDIES = {
    "ablation": Study(
        "finetune=full with one ingredient changed",
        ABLATION,
        [
            "finetune=full",
            "augment=light",
            "augment.views=0",
            "train.label_issues=false",
            "tracking.log_model=none",
            "evaluate.gallery=0",
            "evaluate.resamples=100",
        ],
        reduced=True,
    ),
    "presets": Study("Presets at full size", PRESETS, [], reduced=False),
}
DATA = ("clothing", "cats_dogs", "digits")


def make_images(study: Study, name: str, source: Path | None) -> Path:
    """Create a folder with train/ and validation/, if it does not exist, and return it.

    The choice of files is reproducible. For cats_dogs and digits, which have no validation split, a part of the
    training images is held out. Test splits are not used.
    """
    folder = study.folder(name)
    if folder.exists():
        return folder
    if source is None and name != "digits":
        sys.exit(f"{folder} does not exist; give the folder that contains {name}/ as argument")
    with whole_folder(folder) as out:
        home, validation = (out / "all", None) if source is None or name == "digits" else _splits(source / name)
        if name == "digits":
            # scikit-learn's data set has no test split, so these images include the default test images.
            write_digits(home)
        total = sum(1 for _ in home.rglob("*.*"))
        for label in sorted(each for each in home.iterdir() if each.is_dir()):
            files = sorted(label.iterdir())
            files = [files[place] for place in np.random.default_rng(0).permutation(len(files))]
            held_out = 0 if validation else round(_HELD_OUT * len(files) / total)
            count = round(_REDUCED[name][0] * len(files) / total) if study.reduced else len(files)
            _copy(files[held_out : held_out + count], out / "train" / label.name)
            given = sorted((validation / label.name).iterdir()) if validation else files[:held_out]
            _copy(given, out / "validation" / label.name)
        shutil.rmtree(out / "all", ignore_errors=True)
    return folder


def _splits(folder: Path) -> tuple[Path, Path | None]:
    validation = folder / "validation"
    return folder / "train", validation if validation.exists() else None


def _copy(files: Iterable[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder / file.name)


def overrides(study: Study, data: str, row: str, folder: Path) -> list[str]:
    """Return the overrides of one row, without the seed."""
    own = ["dataset=folder", f"dataset.path={folder}", "dataset.test=validation", f"tracking.experiment={EXPERIMENT}"]
    if data == "cats_dogs":
        # Two of the training images are identical, and one of them is in the validation split.
        own.append("dataset.on_leak=drop")
    if data == "digits":
        own += ["dataset.mirror=false", "image_size=96"]
        if not study.reduced:
            own.append("augment=live")
    elif study.reduced:
        own.append("image_size=112")
    if study.reduced:
        own.append(f"finetune.epochs={_REDUCED[data][1]}")
    settings = [*own, *study.shared, *study.rows[row]]
    # Mirrored digits are not valid digits.
    return [each.replace("flip_crops", "crops") for each in settings] if data == "digits" else settings
