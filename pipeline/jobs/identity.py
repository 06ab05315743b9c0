"""An experiment, and the keys that name it or a stage's result by everything that they depend on."""

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.data.sources import listing_digest
from pipeline.stages import COMPUTING, declaration
from pipeline.stages.settings import OUTPUTS, RESULTS, stage_settings
from pipeline.storage.files import Json, file_sha256, files_below, read_json, write_json
from pipeline.system.paths import CODE, resolve

Digests = dict[str, str | None]
"""sha256 of what lies outside the checkout: `images`, and `weights` (None where no weights file is named)."""

_WATCH = OUTPUTS / "watch"


def outside_digests(config: Config) -> Digests:
    """Digests of the images and of a weights file, as they are now."""
    backbone = config.backbone
    weights = file_sha256(resolve(backbone.weights)) if backbone.has_weights_file else None
    return {"images": listing_digest(config.dataset), "weights": weights}


def write_digests(digests: Digests) -> None:
    """Write each digest to a file of its own, for the stages that depend on it under DVC."""
    for name, digest in digests.items():
        write_json(_WATCH / f"{name}.json", {"sha256": digest})


def read_digests() -> Digests:
    """Read what stage watch wrote."""
    return {file.stem: read_json(file)["sha256"] for file in sorted(_WATCH.glob("*.json"))}


@dataclass(frozen=True)
class Experiment:
    """The experiment that a job works on, and where its outputs lie."""

    config: Config
    root: Path
    """Folder of the stages' folders: a job's own, or DVC's outputs/."""
    digests: Digests
    key: str

    @classmethod
    def of(cls, config: Config, root: Path, digests: Digests | None = None) -> "Experiment":
        """The experiment of a configuration; `digests` None: as they are now."""
        digests = digests or outside_digests(config)
        return cls(config, root, digests, experiment_key(config, digests))

    def folder(self, stage: str) -> Path:
        """Folder of a stage's outputs."""
        return self.root / stage

    def stage_key(self, stage: str) -> str:
        """Name a stage's result by everything that it depends on.

        Returns:
            16 hexadecimal digits: settings, declared code, content of declared inputs, digests, locks and `RESULTS`.

        Raises:
            OSError: an input is missing.
        """
        declared = declaration(stage)
        return _key(
            {
                "stage": stage,
                "settings": asdict(stage_settings(stage, self.config)),
                "code": code_digest(declared.code + declared.others),
                "inputs": {name: content_digest(self.root / name) for name in declared.inputs},
                "digests": {name: self.digests[name] for name in declared.digests},
                "results": RESULTS,
            }
        )


def experiment_key(config: Config, digests: Digests | None = None) -> str:
    """Name an experiment before it starts: settings and code of all stages that make numbers, images and weights.

    Args:
        config: the whole configuration.
        digests: see `outside_digests`; None: as they are now.

    Returns:
        16 hexadecimal digits.
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
    """sha256 over files and folders of the checkout, by path and content: what this process has imported."""
    return _digest(f"{path} {content_digest(CODE / path)}\n" for path in paths)


def content_digest(path: Path) -> str:
    """sha256 of a file's content, or over the paths and contents of a folder's files.

    Raises:
        OSError: there is no such file or folder.
    """
    if not path.is_dir():
        return file_sha256(path)
    return _digest(f"{file.relative_to(path).as_posix()} {file_sha256(file)}\n" for file in files_below(path))


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _key(parts: Json) -> str:
    return _digest([json.dumps(parts, sort_keys=True, default=str)])[:16]
