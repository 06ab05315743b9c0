"""Transfer learning for image classification, as reproducible experiments."""

import gc
import os

from pipeline.system.gpu import nvidia_gpu_present

# By default, Python looks for garbage after 700 new objects. Imports and networks make a million that are none: this
# takes 15 % off the import of TensorFlow, Keras and MLflow.
gc.set_threshold(10_000)
# TensorFlow reads these variables when it is imported, and this package is always imported before.
# By default, TensorFlow uses oneDNN's kernels only on processors with special instructions for neural networks.
# On a processor with AVX2 alone (AMD Zen 3), they were 1.5 times as fast in training, and twice as fast in inference
# (EfficientNet-Lite0 at 224 px).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Hides messages about the processor. With a GPU, warnings name libraries that could not be loaded;
# `pipeline.system.noise` hides the others.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1" if nvidia_gpu_present() else "3")
# MLflow reads these variables when it is imported. Below warnings, it reports how it sets up its database.
# Its usage telemetry is off unless a user turns it on.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
