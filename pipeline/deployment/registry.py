"""Versions of a model in the MLflow model registry.

The alias `champion` marks the version in use, and `challenger` the version that may replace it.
"""

import contextlib
import io
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
# Maximum length of a tag in MLflow, in characters.
_TAG = 5000


@dataclass(frozen=True)
class Version:
    """A version of the registered model."""

    number: str
    run_id: str


class Registry:
    """Client for the versions of one registered model."""

    def __init__(self, tracking: TrackingConfig, name: str):
        """Connect to the tracking store.

        Raises:
            PipelineError: The store can't be used.
        """
        try:
            self._client, _ = connect(tracking)
        except MlflowException as error:
            raise unusable(tracking, error) from error
        self.name = name

    def version_of(self, alias: str) -> Version | None:
        """Return the version with an alias; None if there is none.

        Raises:
            PipelineError: The store can't be read.
        """
        try:
            return _version(self._client.get_model_version_by_alias(self.name, alias))
        except MlflowException as error:
            # The model or the alias does not exist. Other errors must not look like a missing champion.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise PipelineError(
                f"{self.name}: the version with the alias {alias} can't be read from the store: {mask_secrets(error)}"
            ) from error

    def register_challenger(self, run_id: str, card: list[Path]) -> Version:
        """Give the alias `challenger` to the version of a run's model, which is created if it does not exist.

        Args:
            run_id: Id of the run that logged the model.
            card: Files of the model card, which are logged to the run. The first one, in Markdown, becomes the
                description of the version.

        Raises:
            PipelineError: The run has not logged a model, or the store can't be used.
        """
        try:
            if not self._client.search_registered_models(f"name = '{self.name}'"):
                self._client.create_registered_model(self.name)
            versions = self._client.search_model_versions(f"name = '{self.name}' and run_id = '{run_id}'")
            # MLflow would print the number of the version.
            with contextlib.redirect_stderr(io.StringIO()):
                version = versions[0] if versions else mlflow.register_model(f"runs:/{run_id}/model", self.name)
            if not versions:
                self._client.update_model_version(self.name, version.version, card[0].read_text(encoding="utf-8"))
                for file in card:
                    self._client.log_artifact(run_id, str(file), "registry")
            self._client.set_registered_model_alias(self.name, CHALLENGER, version.version)
        except MlflowException as error:
            raise PipelineError(
                f"The model of run {run_id} can't be registered ({error}); check that tracking.log_model was not none"
            ) from error
        return _version(version)

    def record(self, version: Version, decision: Json) -> None:
        """Save a decision in the tags of the version and as an artifact of its run, one artifact per decision."""
        for name, value in decision.items():
            text = value if isinstance(value, str) else json.dumps(value)
            self._client.set_model_version_tag(self.name, version.number, f"decision.{name}", text[:_TAG])
        now = mlflow.utils.time.get_current_time_millis()
        try:
            file = f"registry/decision-{now}.json"
            self._client.log_dict(version.run_id, decision | {"version": version.number}, file)
        except MlflowException as error:
            log.warning(
                "The decision was saved only in the tags of version %s: writing to its run failed (%s)",
                version.number,
                error,
            )

    def promote(self, version: Version) -> None:
        """Make a version the champion, and save the number of the previous champion in a tag."""
        before = self.version_of(CHAMPION)
        if before and before.number != version.number:
            self._client.set_model_version_tag(self.name, version.number, _PREVIOUS, before.number)
        self._client.set_registered_model_alias(self.name, CHAMPION, version.number)
        challenger = self.version_of(CHALLENGER)
        if challenger and challenger.number == version.number:
            self._client.delete_registered_model_alias(self.name, CHALLENGER)

    def roll_back(self) -> tuple[Version, Version]:
        """Give the alias `champion` back to the previous champion.

        Returns:
            The version that was the champion until now, and the one that is the champion again.

        Raises:
            PipelineError: There is no champion or no previous champion.
        """
        champion = self.version_of(CHAMPION)
        if champion is None:
            raise PipelineError(f"{self.name} has no champion; run python -m pipeline.register to register one")
        tags = self._client.get_model_version(self.name, champion.number).tags
        if _PREVIOUS not in tags:
            raise PipelineError(
                f"{self.name}: version {champion.number} was the first champion, so there is no previous one"
            )
        try:
            before = _version(self._client.get_model_version(self.name, tags[_PREVIOUS]))
        except MlflowException as error:
            raise PipelineError(
                f"{self.name}: version {tags[_PREVIOUS]}, the champion before version {champion.number}, was deleted; "
                "assign the alias to another version in MLflow"
            ) from error
        self._client.set_registered_model_alias(self.name, CHAMPION, before.number)
        return champion, before


def _version(version: ModelVersion) -> Version:
    return Version(str(version.version), version.run_id)
