"""Temperature scaling of a saved classifier, without Keras."""

import re
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np

from pipeline.models.archive import WEIGHTS, copy_archive

# Keras names the groups of weights by class and number. The head is the only Sequential model of a classifier.
_HEAD = "layers/sequential/layers"


def write_at_temperature(file: Path, temperature: float, target: Path) -> None:
    """Write a saved classifier whose logits are divided by `temperature`, without building its network.

    Args:
        file: Model file from `pipeline.models.saving.save_classifier`.
        temperature: Temperature, above 0.
        target: Model file to write, in an existing folder.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        with zipfile.ZipFile(file) as members:
            weights = Path(members.extract(WEIGHTS, folder))
        with h5py.File(weights, "r+") as content:
            dense = [name for name in content[_HEAD] if name.startswith("dense")]
            last = max(dense, key=lambda name: int(re.sub(r"\D", "", name) or 0))
            for values in content[f"{_HEAD}/{last}/vars"].values():
                values[...] = values[...] / np.float32(temperature)
        copy_archive(file, target, {WEIGHTS: weights})
