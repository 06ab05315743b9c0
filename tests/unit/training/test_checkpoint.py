"""A training that was cut off ends with the numbers of one that was not."""

import errno

import numpy as np
import pytest

from pipeline.storage.files import whole_file
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tests.support.training import fit

CASES = {
    # Dropout draws; the best epoch comes before the last one, and training stops early.
    "train": ["train.epochs=9", "train.learning_rate=0.5", "train.early_stopping_patience=3", "train.dropout=0.3"],
    # A schedule over steps, other images each epoch.
    "finetune": ["finetune.epochs=3", "finetune.unfreeze=-1", "train.balanced_sampling=true"],
}


@pytest.mark.parametrize(
    ("phase", "precision"), [("train", "float32"), pytest.param("finetune", "mixed_float16", marks=pytest.mark.slow)]
)
def test_cut_off_after_each_epoch_it_ends_as_if_nothing_had_been(configure, tmp_path, phase, precision):
    config = configure(*CASES[phase], f"hardware.precision={precision}", "hardware.frozen_batch_size=8")
    uninterrupted = fit(config, phase)
    checkpoints, reported, cuts = tmp_path / "checkpoints", [], 0
    checkpoints.mkdir()
    while True:
        listened = []

        def cut_off(row, listened=listened):
            listened.append(row)
            if row not in reported:
                reported.append(row)
                raise KeyboardInterrupt

        try:
            resumed = fit(config, phase, cut_off, checkpoints=checkpoints)
            break
        except KeyboardInterrupt:
            cuts += 1
            # An epoch is written before it is reported; epochs before are reported once more, not computed.
            [file] = checkpoints.iterdir()
            assert read_checkpoint(file).epochs == len(reported)
            assert listened == reported
    assert cuts == len(uninterrupted.rows) > 2
    assert resumed.rows == uninterrupted.rows == reported == listened
    assert resumed.kept == uninterrupted.kept
    for ours, theirs in zip(resumed.model.get_weights(), uninterrupted.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not list(checkpoints.glob(".*"))


def made_checkpoint() -> Checkpoint:
    return Checkpoint(1, False, [{"epoch": 1, "loss": 0.1}], {"best": 0.1}, [np.eye(3), np.arange(4)], [np.ones(2)])


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    write_checkpoint(made_checkpoint(), tmp_path / "checkpoint.npz")
    read = read_checkpoint(tmp_path / "checkpoint.npz")
    assert (read.epochs, read.ended, read.rows, read.stopping) == (1, False, made_checkpoint().rows, {"best": 0.1})
    assert [array.tolist() for array in read.variables] == [np.eye(3).tolist(), [0, 1, 2, 3]]
    assert read.best_weights[0].dtype == np.float64


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_checkpoint_is_a_warning_and_not_used(tmp_path, damage, caplog):
    file = tmp_path / "checkpoint.npz"
    write_checkpoint(made_checkpoint(), file)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 255
    damaged = {"cut": data[: len(data) // 2], "flipped": data, "empty": b"", "text": b"not a checkpoint"}
    file.write_bytes(damaged[damage])
    assert read_checkpoint(file) is None
    assert f"{file} is damaged" in caplog.text
    assert "starts from the beginning" in caplog.text


def test_a_full_disk_is_named_and_the_epoch_before_stays(configure, tmp_path, monkeypatch):
    config, written = configure("train.epochs=3", "backbone=scratch_cnn"), []
    (tmp_path / "checkpoints").mkdir()

    def full_at_the_second(path):
        written.append(path)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole_file(path)

    monkeypatch.setattr("pipeline.training.checkpoint.whole_file", full_at_the_second)
    expected = r"epoch 2 can't be written.*No space left.*resumes after the previous epoch"
    with pytest.raises(PipelineError, match=expected):
        fit(config, "train", checkpoints=tmp_path / "checkpoints")
    [file] = (tmp_path / "checkpoints").iterdir()
    assert read_checkpoint(file).epochs == 1
