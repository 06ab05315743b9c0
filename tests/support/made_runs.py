"""Complete experiments with made predictions, logged as evaluate logs them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from pipeline.comparison.costs import COSTS

CLASSES = ["cat", "dog", "hen"]


class Store:
    """A tracking store with runs that were never trained."""

    def __init__(self, folder: Path, experiment: str = "transfer-learning"):
        self.folder, self.uri = folder, f"sqlite:///{folder}/mlflow.db"
        mlflow.set_tracking_uri(self.uri)
        self.client = mlflow.MlflowClient(self.uri)
        self.experiment_id = self.client.create_experiment(experiment, (folder / "artifacts").as_uri())

    def add(
        self,
        hits: np.ndarray,
        test: str = "same",
        tags: dict[str, str] | None = None,
        costs: Sequence[float] = (1.0, 2.0, 3.0, 4.0),
        **settings: Any,
    ) -> str:
        """Log a run that is right where `hits`, bool [n], are true.

        Args:
            hits: of the images.
            test: name of the set of test images.
            tags: beside those of every complete run, or in place of them.
            costs: in the order of `COSTS`.
            settings: parameters such as `backbone_name="vgg16"`.

        Returns:
            the run's id.
        """
        params = {key.replace("_", ".", 1): str(value) for key, value in settings.items()}
        name = " ".join(params.values())
        digest = hashlib.sha256(test.encode()).hexdigest()
        tags = {
            "role": "experiment",
            "complete": "true",
            "test_data": digest,
            "training_data": "a" * 64,
            **(tags or {}),
        }
        run_id = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        for key, value in params.items():
            self.client.log_param(run_id, key, value)
        figures = {cost.metric: value for cost, value in zip(COSTS.values(), costs, strict=True)}
        figures |= {"test/accuracy": hits.mean(), "test/loss": 0.5, "test/ece": 0.1, "test/macro_f1": 0.8}
        figures |= {"finetune/trainable_parameters": costs[1]}
        for key, value in figures.items():
            self.client.log_metric(run_id, key, float(value))
        self._log_files(run_id, hits)
        return run_id

    def _log_files(self, run_id: str, hits: np.ndarray) -> None:
        out = self.folder / run_id
        for stage in ("prepare", "train", "finetune", "evaluate"):
            (out / stage).mkdir(parents=True)
        labels = np.arange(len(hits)) % len(CLASSES)
        predicted = np.where(hits, labels, (labels + 1) % len(CLASSES))
        probabilities = (np.eye(len(CLASSES)) * 0.7 + 0.1)[predicted].astype(np.float32)
        table = pd.DataFrame(
            {"label": np.array(CLASSES)[labels], "sha256": [f"{number:064}" for number in range(len(hits))]}
        )
        # Every experiment may list them in another order.
        order = np.random.default_rng(int(run_id[:8], 16)).permutation(len(hits))
        table.assign(probabilities=list(probabilities)).iloc[order].to_parquet(out / "evaluate" / "predictions.parquet")
        (out / "prepare" / "classes.json").write_text(json.dumps(CLASSES))
        for stage, epochs in (("train", (1, 2, 3)), ("finetune", (4, 5))):
            rows = {
                "epoch": epochs,
                "val_accuracy": np.linspace(0.5, 0.8, len(epochs)),
                "val_loss": np.linspace(1, 0.4, len(epochs)),
            }
            pd.DataFrame(rows).to_csv(out / stage / "history.csv", index=False)
        self.client.log_artifacts(run_id, str(out))


def right(count: int, wrong: int, start: int = 0) -> np.ndarray:
    """Hits on `count` images, but for `wrong` of them from `start` on."""
    hits = np.ones(count, bool)
    hits[start : start + wrong] = False
    return hits
