"""Recipe of the source article as one script, with which the pipeline is compared.

Augmentation and the frozen backbone are layers of a float32 model, which processes all images in every epoch. In the
second phase, the top layers are unfrozen by index, and training continues at a low learning rate.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import keras
import matplotlib
from keras import layers

matplotlib.use("agg")
import matplotlib.pyplot as plt

SIZE = 224


class EpochTimer(keras.callbacks.Callback):
    """Callback that measures the seconds of each epoch with its validation, but without the compilation."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Start the time measurement after the first batch, which includes the compilation."""
        if batch == 0:
            self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """Record the seconds of the epoch, extrapolated to include its first batch."""
        steps = self.params["steps"]
        self.epochs.append((time.perf_counter() - self.started) * steps / (steps - 1))


def backbone(name: str) -> tuple[keras.Model, Any]:
    """Return a backbone and its preprocessing function."""
    shape = (SIZE, SIZE, 3)
    if name == "efficientnet_lite0":
        from pipeline.models.efficientnet_lite import LITE, efficientnet_lite

        return efficientnet_lite(LITE[name], shape, "imagenet"), layers.Rescaling(1 / 128, offset=-127 / 128)
    applications = keras.applications
    constructor, preprocess = {
        "vgg16": (applications.VGG16, applications.vgg16.preprocess_input),
        "resnet50": (applications.ResNet50, applications.resnet50.preprocess_input),
    }[name]
    return constructor(include_top=False, weights=None, input_shape=shape), preprocess


def read_images(folder: Path, seed: int) -> tuple[Any, Any, Any]:
    """Return the training, validation and test batches; 15 % of the images in train/ are for validation."""
    options = {"image_size": (SIZE, SIZE), "batch_size": 32, "label_mode": "categorical"}
    read = keras.utils.image_dataset_from_directory
    train, validation = read(folder / "train", validation_split=0.15, subset="both", seed=seed, **options)
    test = read(folder / "test", shuffle=False, **options)
    return train.prefetch(-1), validation.prefetch(-1), test.prefetch(-1)


def build(base: keras.Model, preprocess: Any) -> keras.Model:
    """Return a classifier of augmentation, the frozen backbone, and a new head for two classes."""
    base.trainable = False
    inputs = layers.Input((SIZE, SIZE, 3))
    x = layers.RandomZoom(0.1)(layers.RandomRotation(0.05)(layers.RandomFlip("horizontal")(inputs)))
    x = base(preprocess(x), training=False)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


def plot_history(histories: list[dict[str, list[float]]], out: Path) -> None:
    """Plot accuracy and loss over the epochs of both phases."""
    for name in ("accuracy", "loss"):
        figure, axes = plt.subplots()
        for metric in (name, f"val_{name}"):
            axes.plot(histories[0][metric] + histories[1][metric], label=metric)
        axes.legend()
        figure.savefig(out / f"{name}.png")


def main() -> None:
    """Train, fine-tune and evaluate a model, and write recipe.json, two charts and the model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.article_recipe", description=__doc__)
    parser.add_argument("images", type=Path, help="folder with train/ and test/, each with class folders")
    parser.add_argument("out", type=Path, help="output folder")
    parser.add_argument("--backbone", default="vgg16", help="vgg16, resnet50 or efficientnet_lite0 (default: vgg16)")
    parser.add_argument("--fine-tune-at", type=int, default=15, help="index of the lowest unfrozen layer (default: 15)")
    parser.add_argument("--epochs", type=int, default=5, help="epochs with the frozen backbone (default: 5)")
    parser.add_argument("--fine-tune-epochs", type=int, default=3, help="epochs of fine-tuning (default: 3)")
    parser.add_argument("--seed", type=int, default=42, help="seed of all random numbers (default: 42)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    train, validation, test = read_images(args.images, args.seed)
    base, preprocess = backbone(args.backbone)
    model, timer = build(base, preprocess), EpochTimer()

    def fit(rate: float, epochs: int, first: int = 0) -> dict[str, list[float]]:
        model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"])
        return model.fit(
            train,
            validation_data=validation,
            initial_epoch=first,
            epochs=first + epochs,
            callbacks=[timer],
            verbose=2,
        ).history

    histories = [fit(1e-3, args.epochs)]
    frozen_accuracy = model.evaluate(test, verbose=2)[1]
    base.trainable = True
    for layer in base.layers[: args.fine_tune_at]:
        layer.trainable = False
    histories.append(fit(1e-5, args.fine_tune_epochs, args.epochs))
    accuracy = model.evaluate(test, verbose=2)[1]

    plot_history(histories, args.out)
    model.save(args.out / "model.keras")
    figures = {"epochs": timer.epochs, "accuracy_phase_1": frozen_accuracy, "accuracy": accuracy}
    (args.out / "recipe.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
