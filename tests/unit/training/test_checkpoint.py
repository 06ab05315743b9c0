"""A training that was cut off ends with the numbers of one that was not."""

import errno

import numpy as np
import pytest

from pipeline.storage.files import whole_file
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import State, read_state, write_state
from tests.integration.test_training import fit, prepared  # noqa: F401

CASES = {
    # Dropout draws; the best epoch comes before the last one, and training stops early.
    "train": ["train.epochs=9", "train.learning_rate=0.5", "train.early_stopping_patience=3", "train.dropout=0.3"],
    # A schedule over steps, other images each epoch.
    "finetune": ["finetune.epochs=3", "finetune.unfreeze=-1", "train.balanced_sampling=true"],
}


@pytest.mark.parametrize(("phase", "precision"), [("train", "float32"), ("finetune", "mixed_float16")])
def test_cut_off_after_each_epoch_it_ends_as_if_nothing_had_been(configure, prepared, tmp_path, phase, precision):  # noqa: F811
    config = configure(*CASES[phase], f"hardware.precision={precision}", "hardware.frozen_batch_size=8")
    model, defer_interrupts = fit(config, prepared, phase)
    backup, reported, cuts = tmp_path / "backup", [], 0
    backup.mkdir()

    def cut_off(row):
        if row["epoch"] not in reported:
            reported.append(row["epoch"])
            raise KeyboardInterrupt

    while True:
        try:
            again, fitted = fit(config, prepared, phase, cut_off, backup=backup)
            break
        except KeyboardInterrupt:
            cuts += 1
    assert cuts == len(defer_interrupts.rows) > 2
    assert fitted.rows == defer_interrupts.rows
    assert fitted.kept == defer_interrupts.kept
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not list(backup.glob(".*"))


def some_state() -> State:
    return State(1, False, [{"epoch": 1, "loss": 0.1}], {"best": 0.1}, [np.eye(3), np.arange(4)], [np.ones(2)])


def test_a_state_comes_back_as_it_was(tmp_path):
    write_state(some_state(), tmp_path / "state.npz")
    read = read_state(tmp_path / "state.npz")
    assert (read.epochs, read.ended, read.rows, read.stopping) == (1, False, some_state().rows, {"best": 0.1})
    assert [array.tolist() for array in read.variables] == [np.eye(3).tolist(), [0, 1, 2, 3]]
    assert read.best[0].dtype == np.float64


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_state_is_said_and_not_used(tmp_path, damage, caplog):
    file = tmp_path / "state.npz"
    write_state(some_state(), file)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 255
    file.write_bytes({"cut": data[: len(data) // 2], "flipped": data, "empty": b"", "text": b"no state"}[damage])
    assert read_state(file) is None
    assert "begins anew" in caplog.text


def test_a_full_disk_is_named_and_the_epoch_before_stays(configure, prepared, tmp_path, monkeypatch):  # noqa: F811
    config, written = configure("train.epochs=3", "backbone=scratch_cnn"), []
    (tmp_path / "backup").mkdir()

    def full_at_the_second(path):
        written.append(path)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole_file(path)

    monkeypatch.setattr("pipeline.training.checkpoint.whole_file", full_at_the_second)
    with pytest.raises(PipelineError, match=r"epoch 2 can't be written.*No space left.*goes on from the epoch before"):
        fit(config, prepared, "train", backup=tmp_path / "backup")
    [state] = (tmp_path / "backup").iterdir()
    assert read_state(state).epochs == 1
