"""Experiments, and the keys that identify them and the results of their stages."""

import functools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.data.sources import listing_digest
from pipeline.stages import COMPUTING, declaration
from pipeline.stages.settings import OUTPUTS, RESULTS, stage_settings
from pipeline.storage.files import Json, content_digest, read_json, text_sha256, write_json
from pipeline.system.paths import CODE, resolve
from pipeline.tracking.initial_weights import weights_digest

Digests = dict[str, str | None]
"""sha256 digests of inputs outside the checkout: `images`, and `weights` (None without a weights file)."""

_WATCH = OUTPUTS / "watch"


def outside_digests(config: Config, *, remember: bool = True) -> Digests:
    """Return the digests of the images and of the file with the initial weights, as they are now.

    Args:
        config: Complete configuration.
        remember: Whether to write digests of files to the cache.
    """
    weights = weights_digest(config, remember=remember)
    return {
        "images": listing_digest(config.dataset, resolve(config.cache_folder), remember=remember),
        "weights": weights,
    }


def write_digests(digests: Digests) -> None:
    """Write each digest to its own file, on which stages depend under DVC."""
    for name, digest in digests.items():
        write_json(_WATCH / f"{name}.json", {"sha256": digest})


def read_digests() -> Digests:
    """Read the digests that stage watch wrote; none before it has run."""
    files = (_WATCH / "images.json", _WATCH / "weights.json")
    return {file.stem: read_json(file)["sha256"] for file in files if file.exists()}


def write_key(config: Config, digests: Digests) -> None:
    """Write the experiment's key, so that DVC's table of experiments names their runs in MLflow."""
    # As short as at the end of the run's name.
    write_json(_WATCH / "experiment.json", {"mlflow": experiment_key(config, digests)[:6]})


@dataclass(frozen=True)
class Experiment:
    """Experiment of a job, and the folder of its outputs."""

    config: Config
    root: Path
    """Folder that contains the stages' folders: the job's folder, or outputs/ under DVC."""
    digests: Digests
    key: str

    @classmethod
    def of(cls, config: Config, root: Path, digests: Digests | None = None) -> "Experiment":
        """Return the experiment of a configuration, with the current digests if `digests` is None."""
        digests = digests or outside_digests(config)
        return cls(config, root, digests, experiment_key(config, digests))

    def folder(self, stage: str) -> Path:
        """Return the folder of a stage's outputs."""
        return self.root / stage

    def stage_key(self, stage: str) -> str:
        """Return the key of a stage's result for the current content of its inputs; see `key_of_stage`.

        Raises:
            OSError: An input is missing.
        """
        inputs = {name: content_digest(self.root / name) for name in declaration(stage).inputs}
        return key_of_stage(stage, self.config, inputs, self.digests)


def key_of_stage(stage: str, config: Config, inputs: dict[str, str], digests: Digests) -> str:
    """Return the key of a stage's result.

    Args:
        stage: One of `pipeline.stages.STAGES`.
        config: Complete configuration.
        inputs: sha256 of each declared input.
        digests: Result of `outside_digests`.

    Returns:
        16 hexadecimal digits: a hash of the stage's settings, declared code and inputs, digests and `RESULTS`.
    """
    declared = declaration(stage)
    return _key(
        {
            "stage": stage,
            "settings": asdict(stage_settings(stage, config)),
            "code": code_digest(declared.code + declared.others),
            "inputs": inputs,
            "digests": {name: digests[name] for name in declared.digests},
            "results": RESULTS,
        }
    )


def experiment_key(config: Config, digests: Digests | None = None) -> str:
    """Return the key of an experiment, which is known before the experiment starts.

    Args:
        config: Complete configuration.
        digests: Result of `outside_digests`; None computes it.

    Returns:
        16 hexadecimal digits: a hash of the settings and code of all stages that compute results, and of the digests.
    """
    code = {each for stage in COMPUTING for each in declaration(stage).code + declaration(stage).others}
    return _key(
        {
            "settings": {stage: asdict(stage_settings(stage, config)) for stage in COMPUTING},
            "code": code_digest(tuple(sorted(code))),
            "digests": digests or outside_digests(config),
            "results": RESULTS,
        }
    )


@functools.cache
def code_digest(paths: tuple[str, ...]) -> str:
    """Return the sha256 of files and folders of the checkout, over their paths and contents.

    It is computed once per process, since later changes do not affect the code that the process has imported.
    """
    return text_sha256("".join(f"{path} {content_digest(CODE / path)}\n" for path in paths))


def _key(parts: Json) -> str:
    return text_sha256(json.dumps(parts, sort_keys=True, default=str))[:16]
