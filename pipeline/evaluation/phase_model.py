"""Model of a phase that is evaluated."""

import functools
from pathlib import Path
from typing import Protocol

import keras

from pipeline.config import EvaluateConfig
from pipeline.models.parts import Parts, parts_for_feature_extraction, parts_for_finetuning
from pipeline.models.saving import load_classifier
from pipeline.storage.files import Json, file_sha256, read_json
from pipeline.system.errors import PipelineError
from pipeline.training.features import NetworkSettings


class EvaluationSettings(NetworkSettings, Protocol):
    """Settings that predictions depend on."""

    @property
    def evaluate(self) -> EvaluateConfig:
        """Settings of the evaluation."""

    @property
    def freeze_batch_norm(self) -> bool:
        """Setting of fine-tuning: whether BatchNormalization was frozen."""


class PhaseModel:
    """Model of a phase and its parts, which are loaded on first use."""

    def __init__(self, folder: Path, classes: list[str], settings: EvaluationSettings):
        """Name the model in a phase's folder, which has to classify into `classes`."""
        self.file = folder / "model.keras"
        self._classes, self._settings = classes, settings
        self._first_layer: int | None = read_json(folder / "metrics.json").get("first_layer")

    @functools.cached_property
    def depends(self) -> Json:
        """Return everything that the model's predictions depend on, except the images."""
        settings, evaluate = self._settings, self._settings.evaluate
        return {
            "model": file_sha256(self.file),
            "classes": self._classes,
            "first_layer": self._first_layer,
            "freeze_batch_norm": settings.freeze_batch_norm,
            "precision": settings.hardware.precision,
            "tta": evaluate.tta,
            "batch_size": evaluate.batch_size,
            "code": file_sha256(Path(__file__)),
        }

    @functools.cached_property
    def network(self) -> keras.Model:
        """Return the classifier.

        Raises:
            PipelineError: It was trained on other classes than those of the test images.
        """
        model, classes = load_classifier(self.file)
        if classes != self._classes:
            raise PipelineError(
                f"{self.file} was trained on the classes {classes}, but the test images have the classes "
                f"{self._classes}; run {self.file.parent.name} again"
            )
        return model

    @functools.cached_property
    def parts(self) -> Parts:
        """Return the frozen and the trainable part of the classifier, as they were in training."""
        settings, precision = self._settings, self._settings.hardware.precision
        if self._first_layer is None:
            return parts_for_feature_extraction(self.network, settings.backbone, precision)
        frozen = settings.freeze_batch_norm
        return parts_for_finetuning(self.network, self._first_layer, freeze_batch_norm=frozen, precision=precision)
