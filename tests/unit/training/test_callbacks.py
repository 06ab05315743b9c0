"""What ends a fit, and what random generators draw in it."""

import keras
import numpy as np
import pytest

from pipeline.system.errors import DivergedError
from pipeline.training.callbacks import EpochRecorder, EpochSeeds


@pytest.fixture
def recorder(configure):
    """Makes a recorder whose limit is three times the loss of guessing, which is 1."""
    phase = configure("train.batch_size=2").train
    return lambda images=100, advance=lambda *_, **__: None: EpochRecorder(
        advance, range(2, 5), images=images, phase=phase, loss_of_guessing=1.0
    )


def test_a_loss_that_is_not_a_number_ends_the_training_at_once(recorder):
    recording = recorder()
    recording.on_epoch_begin(0)
    with pytest.raises(DivergedError, match=r"diverged in epoch 3 .*nan.*lower the learning rate"):
        recording.on_train_batch_end(0, {"loss": np.nan})


def report(recording: EpochRecorder, *losses: float) -> None:
    """Report the mean losses of an epoch's batches."""
    recording.on_epoch_begin(0)
    for batch, loss in enumerate(losses):
        recording.on_train_batch_end(batch, {"loss": loss})


def test_a_high_loss_ends_the_training_once_it_is_the_mean_of_enough_batches(recorder):
    recording = recorder()
    report(recording, 0.9, *[3.1] * 9, 2.9)
    with pytest.raises(DivergedError, match=r"training loss 3\.1 after 11 batches, 0\.9 at the start"):
        report(recording, 0.9, *[3.1] * 10)


def test_batches_are_judged_in_their_order_whenever_they_are_reported(recorder):
    advanced = []
    recording = recorder(images=7, advance=lambda count, **_: advanced.append(count))
    for batch in (1, 0, 3):
        recording.on_train_batch_end(batch, {"loss": [1.0, 9.0, 9.0, 9.0][batch]})
    assert advanced == [2, 2]
    with pytest.raises(DivergedError, match=r"training loss 9 after 4 batches, 1 at the start"):
        recording.on_train_batch_end(2, {"loss": 9.0})
    assert advanced == [2, 2, 2, 1]


def test_a_loss_that_comes_down_from_a_high_start_is_no_divergence(recorder):
    recording = recorder()
    for batch, mean in enumerate(np.linspace(8, 3.2, 11)):
        recording.on_train_batch_end(batch, {"loss": mean})
    with pytest.raises(DivergedError, match=r"training loss 25 after 12 batches, 8 at the start"):
        recording.on_train_batch_end(11, {"loss": 25.0})


def test_a_short_epoch_is_judged_at_its_end(recorder):
    recording = recorder(images=6)
    recording.on_train_batch_end(0, {"loss": 1.0})
    recording.on_train_batch_end(1, {"loss": 9.0})
    with pytest.raises(DivergedError, match=r"training loss 9 after 3 batches, 1 at the start"):
        recording.on_train_batch_end(2, {"loss": 9.0})


def test_a_resumed_training_is_compared_with_its_first_epoch(recorder):
    recording = recorder()
    recording.rows = [{"loss": 4.0}, {"loss": 2.0}]
    report(recording, 2.0, *[11.9] * 10)
    with pytest.raises(DivergedError, match=r"in epoch 5 .*4 at the start"):
        report(recording, 2.0, *[12.1] * 10)


def test_what_dropout_draws_is_a_function_of_seed_and_epoch():
    dropout = keras.layers.Dropout(0.5)
    network = keras.Sequential([keras.layers.Input((64,)), dropout])
    ones = np.ones((1, 64), np.float32)

    def drawn(seed: int, first: int, epoch: int) -> list[float]:
        seeds = EpochSeeds(seed, first)
        seeds.set_model(network)
        seeds.on_epoch_begin(epoch)
        return network(ones, training=True).numpy().tolist()

    assert drawn(1, 0, 3) == drawn(1, 2, 1)
    assert drawn(1, 0, 3) != drawn(1, 0, 4)
    assert drawn(2, 0, 3) != drawn(1, 0, 3)
