"""The stages' inputs and fits on a test's configuration, without jobs, tracking and result files."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from pipeline.config import Config
from pipeline.data.sources import image_folder, table_file
from pipeline.finetuning.finetuner import fine_tune
from pipeline.finetuning.rounds import finetune_rounds
from pipeline.inputs.manifest import Manifest, read_manifest
from pipeline.models.classifier import build_classifier
from pipeline.models.freezing import first_trainable
from pipeline.models.parts import Parts, parts_for_feature_extraction, parts_for_finetuning
from pipeline.stages import finetune, prepare, train
from pipeline.stages.settings import Places, stage_settings
from pipeline.storage.cache import Cache
from pipeline.system.paths import resolve
from pipeline.training import Row
from pipeline.training.features import TrainingData, training_data
from pipeline.training.fit import FitContext, PhaseFit, fit_phase
from pipeline.training.hardware import set_up


def places(config: Config) -> Places:
    """The folders of a configuration; the backbone's weights are no file."""
    preset = resolve(str(config.backbone.preset)) if config.backbone.has_preset_folder else None
    cache = Cache(resolve(config.cache_folder))
    return Places(image_folder(config.dataset), table_file(config.dataset), None, cache, preset)


def run_stages(config: Config, root: Path, *stages: str) -> None:
    """Run the bodies of some stages, of prepare, train and finetune, in `root`, but for those whose folder is there."""
    for stage in stages:
        out = root / stage
        if out.exists():
            continue
        out.mkdir(parents=True)
        settings = stage_settings(stage, config)
        if stage == "prepare":
            prepare.run(settings, places(config), out)
        else:
            body = {"train": train, "finetune": finetune}[stage]
            body.run(settings, places(config), root, out, listener=lambda row: None)


def prepared(config: Config) -> Manifest:
    """The configuration's data set, prepared beside the cache where it is not."""
    root = places(config).cache.folder.parent
    run_stages(config, root, "prepare")
    return read_manifest(root / "prepare")


def data_of(config: Config, size: int | None = None) -> TrainingData:
    """The training data at `size` pixels; None: at the configuration's."""
    sized = replace(config, image_size=size or config.image_size)
    return training_data(prepared(config), places(config).images, sized, places(config).cache)


def classifier(config: Config, classes: int = 3) -> keras.Model:
    """A classifier as phase 1 begins with it."""
    return build_classifier(config.backbone, config.train, config.image_size, classes)


def extraction_parts(config: Config, model: keras.Model) -> Parts:
    """A classifier as phase 1 sees it."""
    return parts_for_feature_extraction(model, config.backbone, config.hardware.precision)


def finetuning_parts(config: Config, model: keras.Model) -> Parts:
    """A classifier as phase 2 sees it."""
    depth = config.finetune.unfreeze
    first_layer = first_trainable(model.get_layer("backbone"), depth, config.backbone.blocks)
    batch_norm, precision = config.finetune.freeze_batch_norm, config.hardware.precision
    return parts_for_finetuning(model, first_layer, freeze_batch_norm=batch_norm, precision=precision)


def context_of(
    config: Config, listener: Callable[[Row], None] = lambda row: None, checkpoints: Path | None = None
) -> FitContext:
    """What fits share, in a process set up for them."""
    strategy = set_up(config.hardware, config.seed)
    return FitContext(config.seed, config.augment, config.hardware, strategy, listener, checkpoints)


@dataclass(frozen=True)
class Trained:
    """A new classifier after one phase."""

    model: keras.Model
    data: TrainingData
    rows: list[Row]
    kept: Row

    @property
    def validation_loss(self) -> float:
        """The saved network's, on the validation images as they are."""
        return loss_on_validation(self.model, self.data)


def fit(
    config: Config,
    phase: str,
    listener: Callable[[Row], None] = lambda row: None,
    *,
    checkpoints: Path | None = None,
    epochs_before: int = 0,
) -> Trained:
    """Train a new classifier in one phase, train or finetune."""
    context, data = context_of(config, listener, checkpoints), data_of(config)
    model = classifier(config)
    if phase == "train":
        fitted = fit_phase(PhaseFit(extraction_parts(config, model), data, config.train, epochs_before), context)
        return Trained(model, data, fitted.rows, fitted.kept)
    backbone, images = model.get_layer("backbone"), len(data.train_indices)
    tuned = fine_tune(
        model,
        finetune_rounds(config.finetune, config.backbone, backbone, images),
        backbone=config.backbone,
        data_at=lambda size: data_of(config, size),
        context=context,
        epochs_before=epochs_before,
    )
    return Trained(model, data, [row for each in tuned.rounds for row in each.rows], tuned.kept)


def loss_on_validation(model: keras.Model, data: TrainingData) -> float:
    """Mean cross-entropy of the validation images."""
    probabilities = model.predict(data.images.take(data.validation_indices), verbose=0)
    labels = data.labels[data.validation_indices]
    return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())
