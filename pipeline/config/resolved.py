"""The configuration as DVC's stages exchange it: resolved.yaml, of which each stage depends on the sections that it reads."""

from dataclasses import asdict
from pathlib import Path

from omegaconf import OmegaConf

from pipeline.config import Config
from pipeline.config.validate import check
from pipeline.storage.files import read_json, whole_file, write_json
from pipeline.system.errors import PipelineError

RESOLVED = Path("resolved.yaml")
OUTPUTS = Path("outputs")
WATCHED = OUTPUTS / "watch"


def write_resolved(config: Config) -> None:
    with whole_file(RESOLVED) as unfinished:
        unfinished.write_text(OmegaConf.to_yaml(OmegaConf.create(asdict(config))), encoding="utf-8")


def read_resolved() -> Config:
    """What the `configure` stage wrote."""
    if not RESOLVED.exists():
        raise PipelineError(f"{RESOLVED} does not exist; run dvc repro, whose configure stage writes it")
    return check(OmegaConf.load(RESOLVED))


def write_watched(digests: dict[str, str | None]) -> None:
    """Each digest in a file of its own, for the stages that depend on it."""
    for name, digest in digests.items():
        write_json(WATCHED / f"{name}.json", {"sha256": digest})


def read_watched() -> dict[str, str | None]:
    """What the `watch` stage wrote, as `pipeline.jobs.identity.watched` gives it."""
    return {file.stem: read_json(file)["sha256"] for file in sorted(WATCHED.glob("*.json"))}
