"""Checkpoints are listed with their experiment, and belong to the running training."""

from pipeline.jobs.checkpoints import checkpoints, listed_checkpoints
from pipeline.jobs.identity import Experiment
from pipeline.jobs.results import SharedResults


def test_a_checkpoint_is_listed_until_the_training_has_ended(configure, tmp_path):
    experiment = Experiment.of(configure(), tmp_path / "job", {"images": "0", "weights": None})
    cache, key = tmp_path / "cache", "0123456789abcdef"
    shared = SharedResults(cache)
    with shared.alone_with("train", key), checkpoints("train", key, experiment, made_by="vgg16 flowers") as folder:
        (folder / "checkpoint.npz").write_bytes(b"x" * 100)
        [found] = listed_checkpoints(cache)
        assert found.holds == {"kind": "checkpoint", "stage": "train", "made_by": "vgg16 flowers"}
        assert found.size > 100
        # The process that trains has it.
        assert not found.remove()
    assert listed_checkpoints(cache) == []


def test_that_of_an_interrupted_training_stays_and_can_be_removed(configure, tmp_path):
    experiment = Experiment.of(configure(), tmp_path / "job", {"images": "0", "weights": None})
    cache = tmp_path / "cache"
    try:
        with checkpoints("finetune", "1a2b", experiment, made_by="vgg16 flowers") as folder:
            (folder / "checkpoint.npz").touch()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    [found] = listed_checkpoints(cache)
    assert found.remove()
    assert listed_checkpoints(cache) == []
