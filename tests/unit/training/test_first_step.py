"""A mirrored training whose first step hangs is ended."""

import pytest

# One of two replicas never returns from the first batch: a layer of the network waits, as a collective operation does.
HANGS = """
import logging, sys, time
import pipeline
import keras, numpy as np, tensorflow as tf
from pipeline.training.first_step import first_step_limit

logging.basicConfig()
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


class Waits(keras.layers.Layer):
    def call(self, inputs):
        def wait(batch):
            time.sleep(float(sys.argv[2]))
            return batch

        return tf.ensure_shape(tf.numpy_function(wait, [inputs], tf.float32), inputs.shape)


strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    network = keras.Sequential([keras.Input((2,)), Waits(), keras.layers.Dense(1)])
    network.compile("sgd", "mse")
with first_step_limit(float(sys.argv[1]), strategy) as limit:
    network.fit(np.ones((4, 2)), np.ones((4, 1)), batch_size=2, verbose=0, callbacks=limit)
print("trained")
"""


@pytest.mark.parametrize(("minutes", "seconds", "status"), [(0.02, 3600, 1), (30, 0, 0)])
def test_a_step_that_hangs_ends_the_process_with_a_hint(command, tmp_path, minutes, seconds, status):
    (tmp_path / "hangs.py").write_text(HANGS)
    ran = command("hangs", str(minutes), str(seconds))
    assert (ran.returncode, "trained" in ran.stdout) == (status, not status), ran.stderr
    hint = "on 2 devices has not ended after 0.02 minutes (hardware.first_step_minutes)"
    assert (hint in ran.stderr) == bool(status)
