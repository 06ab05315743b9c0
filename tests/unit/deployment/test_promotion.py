"""The rule by which a challenger becomes champion, and the aliases that move."""

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR

from pipeline.comparison.experiments import Experiment
from pipeline.config import RegisterConfig
from pipeline.config.compose import configuration
from pipeline.deployment.registration.gate import _against
from pipeline.deployment.registration.promotion import compared, decide, hits_on_same_images
from pipeline.deployment.registration.registry import CHALLENGER, CHAMPION, Registry
from pipeline.system.errors import PipelineError
from pipeline.tracking import connect, log_model

REGISTER = RegisterConfig("test", "classifier", margin=0.01, cost="latency", saving=0.02)


def predictions(hits):
    """A table as evaluate writes it, in an order of its own."""
    labels = np.where(np.arange(len(hits)) % 2, "cat", "dog")
    other = np.where(labels == "cat", "dog", "cat")
    table = pd.DataFrame(
        {
            "sha256": [f"{number:064}" for number in range(len(hits))],
            "label": labels,
            "prediction": np.where(hits, labels, other),
        }
    )
    return table.sample(frac=1, random_state=int(hits.sum()))


def right(count, of=1000):
    return np.arange(of) < count


@pytest.mark.parametrize(
    ("champion", "challenger", "costs", "promoted", "why"),
    [
        (right(900), right(930), (1, 9), True, "is better"),
        # A few images more, by chance as likely.
        (right(900), right(902), (1, 2), False, "neither shown to be better nor cheaper"),
        (right(900), right(902), (2, 1), True, "not worse .* and cheaper"),
        (right(900), right(899), (2, 1), True, "not worse .* and cheaper"),
        # Cheaper by as little as chance gives.
        (right(900), right(902), (2, 1.99), False, "nor cheaper by register.saving=0.02"),
        # Cheaper, and nobody knows whether worse.
        (right(900), np.roll(right(900), 60), (2, 1), False, "may be worse"),
        (right(930), right(900), (2, 1), False, "may be worse"),
        (right(900), right(900), (1, 1), False, "neither"),
    ],
)
def test_the_rule(champion, challenger, costs, promoted, why):
    difference = compared(predictions(champion), predictions(challenger), 0.95)
    assert difference.value == pytest.approx(challenger.mean() - champion.mean())
    decision = decide(difference, costs, REGISTER, 0.95)
    assert decision.promoted is promoted
    assert pd.Series(decision.reason).str.contains(why).all()
    assert decision.named()["challenger_cost"] == costs[1]
    assert {"mcnemar_p", "accuracy_difference_low", "margin", "gained", "lost"} <= set(decision.named())


def test_only_the_same_images_are_compared():
    first, second = hits_on_same_images(predictions(right(3, 10)), predictions(right(7, 10)))
    assert first.tolist() == right(3, 10).tolist()
    assert second.tolist() == right(7, 10).tolist()
    with pytest.raises(PipelineError, match="different images"):
        hits_on_same_images(predictions(right(3, 10)), predictions(right(3, 11)))


def test_aliases_move_and_go_back(trained, tmp_path, empty_store):
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    config = configuration([f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"])
    mlflow.set_tracking_uri(config.tracking.uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("models", (tmp_path / "artifacts").as_uri()))
    run_ids = []
    for _ in range(2):
        with mlflow.start_run() as run:
            log_model(trained.file, "model", 1.0, applied=False)
        run_ids.append(run.info.run_id)
    note = tmp_path / "card.md"
    note.write_text("a card")
    registry = Registry(config.tracking, "classifier")
    assert registry.holder(CHAMPION) is None
    with pytest.raises(PipelineError, match="has no champion"):
        registry.roll_back()
    with pytest.raises(PipelineError, match="can't be registered"):
        registry.challenge("0" * 32, [note])

    first = registry.challenge(run_ids[0], [note])
    assert registry.challenge(run_ids[0], [note]) == first == registry.holder(CHALLENGER)
    registry.promote(first)
    assert registry.holder(CHAMPION) == first
    assert registry.holder(CHALLENGER) is None
    with pytest.raises(PipelineError, match="was the first champion"):
        registry.roll_back()

    second = registry.challenge(run_ids[1], [note])
    registry.record(second, {"promoted": True, "reason": "It is better.", "mcnemar_p": 0.01})
    registry.promote(second)
    assert registry.holder(CHAMPION) == second != first
    client = mlflow.MlflowClient(config.tracking.uri)
    tags = client.get_model_version("classifier", second.number).tags
    assert tags["decision.reason"] == "It is better."
    assert tags["decision.mcnemar_p"] == "0.01"
    assert client.get_model_version("classifier", first.number).description == "a card"
    kept = [item.path for item in client.list_artifacts(run_ids[1], "registry")]
    assert "registry/card.md" in kept
    assert any(path.startswith("registry/decision-") for path in kept)
    assert registry.roll_back() == (second, first)
    assert registry.holder(CHAMPION) == first

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
    assert registry.holder(CHAMPION) is None


def test_a_store_that_does_not_say_who_is_champion_makes_none_the_first(configure, monkeypatch):
    registry = Registry(configure().tracking, "classifier")
    away = MlflowException("no answer", error_code=INTERNAL_ERROR)
    monkeypatch.setattr(registry._client, "get_model_version_by_alias", lambda *_: raise_(away))
    with pytest.raises(PipelineError, match="does not say which version is champion: no answer"):
        registry.holder(CHAMPION)


def raise_(error):
    raise error


def test_a_champion_whose_run_is_gone_is_not_compared(configure):
    config = configure()
    connect(config.tracking)
    decision = _against("f" * 32, Experiment("0" * 32, "challenger", 0, {}, {}, {}), config)
    assert not decision.promoted
    assert "run of champion or challenger is gone" in decision.reason
