"""Results in a cache and in job folders, made without computing anything."""

from hashlib import sha256
from pathlib import Path

import numpy as np

from pipeline.jobs.results import SharedResults
from pipeline.storage.cache import Cache
from pipeline.storage.files import write_json


def add_result(cache: Path, job: Path, stage: str, key: str, *, by: str = "", entries: tuple[str, ...] = ()) -> None:
    """A stage's result of 1,000 bytes and its description, in the folder `job` and in the cache."""
    folder, data = job / stage, b"x" * 1000
    folder.mkdir(parents=True)
    (folder / "model.keras").write_bytes(data)
    files = {"model.keras": {"bytes": len(data), "sha256": sha256(data).hexdigest()}}
    write_json(folder / "run.json", {"made_by": by, "stage_key": key, "cache": list(entries), "files": files})
    SharedResults(cache).add(stage, key, folder)


def add_images(cache: Path, number: int, *, by: str = "") -> str:
    """An entry of decoded images, each number another one; returns its name."""
    built = Cache(cache, by)
    depends = {"images": str(number), "image_size": 4}
    rows = np.zeros((5, 4, 4, 3), np.uint8)
    built.rows("images", depends, shape=rows.shape[1:], dtype="uint8", build=lambda append: append(rows))
    [name] = built.used
    return name
