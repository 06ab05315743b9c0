"""MLflow's model registry: versions of one model. `champion` is in use, `challenger` may take its place."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.config import TrackingConfig
from pipeline.storage.files import Json
from pipeline.system.errors import PipelineError
from pipeline.tracking.store import connect, mask_secrets, unusable

log = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
_PREVIOUS = "previous_champion"
# Characters that MLflow allows in a tag.
_TAG = 5000


@dataclass(frozen=True)
class Version:
    """A version of the registered model."""

    number: str
    run_id: str


class Registry:
    """The versions of one registered model."""

    def __init__(self, tracking: TrackingConfig, name: str):
        """Connect to the store.

        Raises:
            PipelineError: the store can't be used.
        """
        try:
            self._client, _ = connect(tracking)
        except MlflowException as error:
            raise unusable(tracking, error) from error
        self.name = name

    def version_of(self, alias: str) -> Version | None:
        """Return the version that an alias names; None where there is none.

        Raises:
            PipelineError: the store can't be read.
        """
        try:
            return _version(self._client.get_model_version_by_alias(self.name, alias))
        except MlflowException as error:
            # No such model; no such alias. A store that is away must not make anything the first champion.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise PipelineError(
                f"{self.name}: the store can't be asked which version is {alias}: {mask_secrets(error)}"
            ) from error

    def register_challenger(self, run_id: str, card: list[Path]) -> Version:
        """Give the version of a run's model, made where there is none, the alias `challenger`.

        Args:
            run_id: of the run that has logged the model.
            card: files of its model card, logged to the run; the first, in Markdown, becomes the version's description.

        Raises:
            PipelineError: the run has logged no model.
        """
        try:
            if not self._client.search_registered_models(f"name = '{self.name}'"):
                self._client.create_registered_model(self.name)
            versions = self._client.search_model_versions(f"name = '{self.name}' and run_id = '{run_id}'")
            version = versions[0] if versions else mlflow.register_model(f"runs:/{run_id}/model", self.name)
            if not versions:
                self._client.update_model_version(self.name, version.version, card[0].read_text(encoding="utf-8"))
                for file in card:
                    self._client.log_artifact(run_id, str(file), "registry")
            self._client.set_registered_model_alias(self.name, CHALLENGER, version.version)
        except MlflowException as error:
            raise PipelineError(
                f"run {run_id}: its model can't be registered ({error}); was it run with tracking.log_model=none?"
            ) from error
        return _version(version)

    def record(self, version: Version, decision: Json) -> None:
        """Keep a decision with its numbers, in the version's tags and as a file of its run, one per decision."""
        for name, value in decision.items():
            text = value if isinstance(value, str) else json.dumps(value)
            self._client.set_model_version_tag(self.name, version.number, f"decision.{name}", text[:_TAG])
        now = mlflow.utils.time.get_current_time_millis()
        try:
            file = f"registry/decision-{now}.json"
            self._client.log_dict(version.run_id, decision | {"version": version.number}, file)
        except MlflowException as error:
            log.warning(
                "The decision is in the tags of version %s alone: its run can't be written to (%s)",
                version.number,
                error,
            )

    def promote(self, version: Version) -> None:
        """Make a version the champion; a tag of it names the one before."""
        before = self.version_of(CHAMPION)
        if before and before.number != version.number:
            self._client.set_model_version_tag(self.name, version.number, _PREVIOUS, before.number)
        self._client.set_registered_model_alias(self.name, CHAMPION, version.number)
        challenger = self.version_of(CHALLENGER)
        if challenger and challenger.number == version.number:
            self._client.delete_registered_model_alias(self.name, CHALLENGER)

    def roll_back(self) -> tuple[Version, Version]:
        """Give the alias `champion` back to the version that had it before.

        Returns:
            the version that lost it, and the one that has it.

        Raises:
            PipelineError: there was none before.
        """
        champion = self.version_of(CHAMPION)
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


def _version(version: ModelVersion) -> Version:
    return Version(str(version.version), version.run_id)
