"""The recipe of the source article as one script: what the pipeline is measured against.

The frozen backbone and the augmentation are layers of the model, all in float32, and every epoch of both phases passes every image through
them; then the top layers are unfrozen by index, and training goes on at a small rate.
"""

import argparse
import json
import time
from pathlib import Path

import keras
import matplotlib
from keras import layers

matplotlib.use("agg")
import matplotlib.pyplot as plt


class Seconds(keras.callbacks.Callback):
    """How long each epoch took, its validation included, without what its first batch took more than the others: that compiles."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        steps = self.params["steps"]
        self.epochs.append((time.perf_counter() - self.started) * steps / (steps - 1))


def backbone(name: str, size: int) -> tuple[keras.Model, layers.Layer]:
    """A network without its classifier, and what its pixels go through first."""
    if name == "efficientnet_lite0":
        from pipeline.models.efficientnet_lite0 import efficientnet_lite0

        return efficientnet_lite0((size, size, 3), "imagenet"), layers.Rescaling(1 / 128, offset=-127 / 128)
    constructor = {"vgg16": keras.applications.VGG16, "resnet50": keras.applications.ResNet50}[name]
    preprocess = {
        "vgg16": keras.applications.vgg16.preprocess_input,
        "resnet50": keras.applications.resnet50.preprocess_input,
    }[name]
    return constructor(include_top=False, weights=None, input_shape=(size, size, 3)), preprocess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="train/ and test/ with class sub-folders")
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--fine-tune-at", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--fine-tune-epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(given.seed)
    size = 224
    options = {"image_size": (size, size), "batch_size": 32, "label_mode": "categorical"}
    train, validation = keras.utils.image_dataset_from_directory(
        given.images / "train", validation_split=0.15, subset="both", seed=given.seed, **options
    )
    test = keras.utils.image_dataset_from_directory(given.images / "test", shuffle=False, **options)
    train, validation, test = (data.prefetch(-1) for data in (train, validation, test))

    base, preprocess = backbone(given.backbone, size)
    base.trainable = False
    inputs = layers.Input((size, size, 3))
    x = layers.RandomZoom(0.1)(layers.RandomRotation(0.05)(layers.RandomFlip("horizontal")(inputs)))
    x = base(preprocess(x), training=False)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(x))
    seconds = Seconds()

    def fit(rate: float, epochs: int, first: int = 0):
        model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"])
        return model.fit(
            train,
            validation_data=validation,
            initial_epoch=first,
            epochs=first + epochs,
            callbacks=[seconds],
            verbose=2,
        ).history

    histories = [fit(1e-3, given.epochs)]
    frozen_accuracy = model.evaluate(test, verbose=2)[1]
    base.trainable = True
    for layer in base.layers[: given.fine_tune_at]:
        layer.trainable = False
    histories.append(fit(1e-5, given.fine_tune_epochs, given.epochs))
    accuracy = model.evaluate(test, verbose=2)[1]

    for name in ("accuracy", "loss"):
        figure, axes = plt.subplots()
        for kind in (name, f"val_{name}"):
            axes.plot(histories[0][kind] + histories[1][kind], label=kind)
        axes.legend()
        figure.savefig(given.out / f"{name}.png")
    model.save(given.out / "model.keras")
    figures = {"epochs": seconds.epochs, "accuracy_phase_1": frozen_accuracy, "accuracy": accuracy}
    (given.out / "recipe.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
