"""What is said to MLflow's model registry: versions of one model, of which `champion` is used and `challenger` wants to be."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.config import TrackingConfig
from pipeline.system.errors import PipelineError
from pipeline.tracking import connect, masked, store_uri

log = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
_PREVIOUS = "previous_champion"
# What MLflow takes for a tag.
_TAG = 5000


@dataclass(frozen=True)
class Version:
    """A version of the registered model."""

    number: str
    run_id: str


class Registry:
    """The versions of one registered model."""

    def __init__(self, tracking: TrackingConfig, name: str):
        """Raises PipelineError where the store can't be used."""
        try:
            self._client, _ = connect(tracking)
        except MlflowException as error:
            raise PipelineError(
                f"tracking: the store {masked(store_uri(tracking))} can't be used: {masked(error)}"
            ) from error
        self.name = name

    def holder(self, alias: str) -> Version | None:
        """The version that an alias names.

        Raises:
            PipelineError: the store does not say.
        """
        try:
            return _version(self._client.get_model_version_by_alias(self.name, alias))
        except MlflowException as error:
            # No such model; no such alias. A store that is away has to be no reason to make anything the first champion.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise PipelineError(
                f"{self.name}: the store does not say which version is {alias}: {masked(error)}"
            ) from error

    def challenge(self, run_id: str, card: list[Path]) -> Version:
        """The version of a run's model, made if there is none, with the alias `challenger`.

        Args:
            run_id: of the run that has logged the model.
            card: files of its model card, Markdown first, which becomes the version's description; all are kept with the run.

        Raises:
            PipelineError: the run has logged no model.
        """
        try:
            if not self._client.search_registered_models(f"name = '{self.name}'"):
                self._client.create_registered_model(self.name)
            found = self._client.search_model_versions(f"name = '{self.name}' and run_id = '{run_id}'")
            made = found[0] if found else mlflow.register_model(f"runs:/{run_id}/model", self.name)
            if not found:
                self._client.update_model_version(self.name, made.version, card[0].read_text(encoding="utf-8"))
                for file in card:
                    self._client.log_artifact(run_id, str(file), "registry")
            self._client.set_registered_model_alias(self.name, CHALLENGER, made.version)
        except MlflowException as error:
            raise PipelineError(
                f"run {run_id}: its model can't be registered ({error}); was it run with tracking.log_model=none?"
            ) from error
        return _version(made)

    def record(self, version: Version, decision: dict[str, Any]) -> None:
        """Keep a decision with its numbers, in the version's tags and as a file of its run, each decision one."""
        for name, value in decision.items():
            told = value if isinstance(value, str) else json.dumps(value)
            self._client.set_model_version_tag(self.name, version.number, f"decision.{name}", told[:_TAG])
        now = mlflow.utils.time.get_current_time_millis()
        try:
            told = decision | {"version": version.number}
            self._client.log_dict(version.run_id, told, f"registry/decision-{now}.json")
        except MlflowException as error:
            log.warning(
                "The decision stands in the tags of version %s alone: its run takes none (%s)", version.number, error
            )

    def promote(self, version: Version) -> None:
        """Make a version the champion; it remembers the one before."""
        before = self.holder(CHAMPION)
        if before and before.number != version.number:
            self._client.set_model_version_tag(self.name, version.number, _PREVIOUS, before.number)
        self._client.set_registered_model_alias(self.name, CHAMPION, version.number)
        challenger = self.holder(CHALLENGER)
        if challenger and challenger.number == version.number:
            self._client.delete_registered_model_alias(self.name, CHALLENGER)

    def roll_back(self) -> tuple[Version, Version]:
        """Give the alias `champion` back to the version that had it before; returns the version that lost it and the one that has it.

        Raises:
            PipelineError: there is none before.
        """
        champion = self.holder(CHAMPION)
        if champion is None:
            raise PipelineError(f"{self.name} has no champion; python -m pipeline.register makes one")
        tags = self._client.get_model_version(self.name, champion.number).tags
        if _PREVIOUS not in tags:
            raise PipelineError(
                f"{self.name}: version {champion.number} was the first champion; there is none to go back to"
            )
        try:
            before = _version(self._client.get_model_version(self.name, tags[_PREVIOUS]))
        except MlflowException as error:
            raise PipelineError(
                f"{self.name}: version {tags[_PREVIOUS]}, the champion before version {champion.number}, was deleted; "
                "give the alias to another one in MLflow"
            ) from error
        self._client.set_registered_model_alias(self.name, CHAMPION, before.number)
        return champion, before


def _version(found: ModelVersion) -> Version:
    return Version(str(found.version), found.run_id)
