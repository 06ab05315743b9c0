"""What ends a fit, and what random generators draw in it."""

import keras
import numpy as np
import pytest

from pipeline.system.errors import DivergedError
from pipeline.training.callbacks import EpochRecorder, EpochSeeds


def recorder() -> EpochRecorder:
    return EpochRecorder(lambda count, note=None: None, range(2, 5), images=100, batch_size=2, diverged_above=3.0)


def test_a_loss_that_is_not_a_number_ends_the_training_at_once():
    recording = recorder()
    recording.on_epoch_begin(0)
    with pytest.raises(DivergedError, match=r"diverged in epoch 3 .*nan.*lower the learning rate"):
        recording.on_train_batch_end(0, {"loss": np.nan})


def test_a_high_loss_ends_the_training_once_it_is_the_mean_of_enough_batches():
    recording = recorder()
    recording.on_epoch_begin(0)
    recording.on_train_batch_end(9, {"loss": 3.1})
    recording.on_train_batch_end(10, {"loss": 2.9})
    with pytest.raises(DivergedError, match=r"training loss 3\.1 after 11 batches"):
        recording.on_train_batch_end(10, {"loss": 3.1})


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
