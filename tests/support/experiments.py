"""Experiments that tests run in their own process."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import Config
from pipeline.stages import STAGES
from pipeline.storage.files import read_json
from pipeline.system.paths import CODE


def run_stages(config: Config, root: Path, last: str | None = None, *, repeat: bool = False):
    """Run the stages up to `last` (None: all) in the folder `root`; returns the experiment."""
    from pipeline.jobs.identity import Experiment
    from pipeline.jobs.run_stages import run_through

    experiment = Experiment.of(config, root)
    run_through(last, experiment, repeat=repeat)
    return experiment


def declared_outputs(stage: str) -> set[str]:
    """Files and folders that dvc.yaml declares as a stage's outputs, relative to outputs/."""
    entry = yaml.safe_load((CODE / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    return {path.removeprefix("outputs/") for kind in ("outs", "metrics", "plots") for path in entry.get(kind, ())}


def folders(root: Path) -> list[str]:
    """What a job's folder holds, sorted."""
    return sorted(item.name for item in root.iterdir())


@dataclass(frozen=True)
class FinishedExperiment:
    """An experiment with the results of all stages, not to be changed."""

    config: Config
    root: Path
    """Folder of the stages' folders."""
    key: str

    @property
    def run_id(self) -> str:
        """Of its run in MLflow."""
        return self.json("report", "run.json")["run_id"]

    @property
    def client(self):
        """Of the tracking store."""
        import mlflow

        return mlflow.MlflowClient(self.config.tracking.uri)

    def json(self, stage: str, name: str) -> Any:
        """Content of a JSON file of a stage."""
        return read_json(self.root / stage / name)


def recomputed(experiment: FinishedExperiment, root: Path) -> list[str]:
    """The stages of which a copy of an experiment's folder has another result by now."""
    return [stage for stage in STAGES if read_json(root / stage / "run.json") != experiment.json(stage, "run.json")]


def with_overrides(config: Config, *overrides: str) -> Config:
    """A configuration with some settings changed, `section.key=value`, by the type of the value that is there."""
    for override in overrides:
        key, _, text = override.partition("=")
        section, _, name = key.partition(".")
        kind = type(getattr(getattr(config, section), name))
        config = replace(config, **{section: replace(getattr(config, section), **{name: kind(text)})})
    return config
