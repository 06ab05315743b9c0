"""Versions of the registered model, and the aliases that move."""

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR

from pipeline.config.compose import configuration
from pipeline.deployment.registry import CHALLENGER, CHAMPION, Registry
from pipeline.system.errors import PipelineError
from pipeline.tracking.logged_model import log_model


def test_aliases_move_and_go_back(trained, tmp_path, empty_store):
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    config = configuration([f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"])
    mlflow.set_tracking_uri(config.tracking.uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("models", (tmp_path / "artifacts").as_uri()))
    run_ids = []
    for _ in range(2):
        with mlflow.start_run() as run:
            log_model(trained.file, "model", temperature=1.0, applied=False)
        run_ids.append(run.info.run_id)
    note = tmp_path / "card.md"
    note.write_text("a card")
    registry = Registry(config.tracking, "classifier")
    assert registry.version_of(CHAMPION) is None
    with pytest.raises(PipelineError, match="has no champion"):
        registry.roll_back()
    with pytest.raises(PipelineError, match="can't be registered"):
        registry.register_challenger("0" * 32, [note])

    first = registry.register_challenger(run_ids[0], [note])
    assert registry.register_challenger(run_ids[0], [note]) == first == registry.version_of(CHALLENGER)
    registry.promote(first)
    assert registry.version_of(CHAMPION) == first
    assert registry.version_of(CHALLENGER) is None
    with pytest.raises(PipelineError, match="was the first champion"):
        registry.roll_back()

    second = registry.register_challenger(run_ids[1], [note])
    registry.record(second, {"promoted": True, "reason": "It is better.", "mcnemar_p": 0.01})
    registry.promote(second)
    assert registry.version_of(CHAMPION) == second != first
    client = mlflow.MlflowClient(config.tracking.uri)
    tags = client.get_model_version("classifier", second.number).tags
    assert tags["decision.reason"] == "It is better."
    assert tags["decision.mcnemar_p"] == "0.01"
    assert client.get_model_version("classifier", first.number).description == "a card"
    kept = [item.path for item in client.list_artifacts(run_ids[1], "registry")]
    assert "registry/card.md" in kept
    assert any(path.startswith("registry/decision-") for path in kept)
    assert registry.roll_back() == (second, first)
    assert registry.version_of(CHAMPION) == first

    # What somebody has deleted in MLflow.
    registry.promote(second)
    client.delete_run(second.run_id)
    registry.record(second, {"promoted": False, "reason": "Its run is gone."})
    assert client.get_model_version("classifier", second.number).tags["decision.reason"] == "Its run is gone."
    client.delete_model_version("classifier", first.number)
    with pytest.raises(
        PipelineError, match=f"version {first.number}, the champion before version {second.number}, was deleted"
    ):
        registry.roll_back()
    client.delete_model_version("classifier", second.number)
    assert registry.version_of(CHAMPION) is None


def test_a_store_that_is_away_makes_none_the_first_champion(configure, monkeypatch):
    registry = Registry(configure().tracking, "classifier")
    away = MlflowException("no answer", error_code=INTERNAL_ERROR)
    monkeypatch.setattr(registry._client, "get_model_version_by_alias", lambda *_: raise_(away))
    with pytest.raises(
        PipelineError, match="the version with the alias champion can't be read from the store: no answer"
    ):
        registry.version_of(CHAMPION)


def raise_(error):
    raise error
