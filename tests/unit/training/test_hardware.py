"""Devices are found by asking; a mirrored training equals one on one device."""

import json

import numpy as np
import pytest
from keras import layers

from pipeline.models.classifier import build_classifier
from pipeline.models.parts import parts_for_finetuning
from pipeline.training import hardware

MIRRORED = """
import json, sys
import tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import Path
from pipeline import prepare, train
from pipeline.composition import composed
from pipeline.validation import check

config = check(composed(json.loads(sys.argv[1])))
root = Path(sys.argv[2])
for stage, module in (("prepare", prepare), ("train", train)):
    (root / stage).mkdir(parents=True)
    module.run(config, root, root / stage, lambda row: None)
print(tf.distribute.get_strategy().num_replicas_in_sync)
"""


def test_mirrored_on_two_logical_devices_agrees_with_one(command, tmp_path, images):
    (tmp_path / "mirrored.py").write_text(MIRRORED)
    overrides = [
        "dataset=folder",
        f"dataset.path={images}",
        "image_size=32",
        "backbone=efficientnet_lite0",
        "train.epochs=2",
        "train.dropout=0",
        f"cache_folder={tmp_path}/cache",
    ]
    histories = []
    for strategy in ("one_device", "mirrored"):
        out = tmp_path / strategy
        ran = command("mirrored", json.dumps([*overrides, f"hardware.strategy={strategy}"]), str(out))
        assert ran.returncode == 0, ran.stderr
        rows = (out / "train" / "history.csv").read_text().splitlines()[1:]
        histories.append([[float(value) for value in row.split(",")] for row in rows])
    assert histories[0] == [pytest.approx(row, rel=1e-3, abs=1e-6) for row in histories[1]]


def test_a_gpu_that_tensorflow_does_not_see_is_a_loud_warning(configure, monkeypatch, caplog):
    monkeypatch.setattr(hardware, "nvidia_gpu_present", lambda: True)
    config = configure()
    hardware.set_up(config.hardware, 1)
    assert "NVIDIA GPU THAT TENSORFLOW DOES NOT SEE" in caplog.text


def test_the_description_names_what_a_result_depends_on():
    described = hardware.description()
    assert described["devices"] == "CPU"
    assert described["tensorflow"].startswith("2.")
    assert set(described) >= {"intra_op_threads", "inter_op_threads", "cpu_short_floats", "onednn", "cores"}


def test_tensorflow_warns_of_all_but_functions_traced_anew(caplog):
    told = hardware.tf.get_logger()
    told.warning("5 out of the last 5 calls to f triggered tf.function retracing.")
    told.warning("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]


@pytest.mark.parametrize(
    ("backbone", "depthwise", "precision"),
    [
        ("efficientnet_lite0", {"float32"}, "trainable mixed_bfloat16 in wide layers"),
        ("xception", {"float32"}, "trainable mixed_bfloat16 in wide layers"),
        ("resnet50", set(), "trainable mixed_bfloat16"),
    ],
)
def test_depthwise_convolutions_learn_in_float32_on_a_cpu_with_short_floats(
    configure, monkeypatch, backbone, depthwise, precision
):
    monkeypatch.setattr(hardware, "_cpu_bfloat16", lambda: ["avx512_bf16"])
    config = configure(
        f"backbone={backbone}", "backbone.weights=random", "image_size=71", "hardware.precision=auto", "finetune=light"
    )
    model = build_classifier(config, 2)
    parts = parts_for_finetuning(model, config.backbone, config.finetune, config.hardware.precision)
    assert parts.precision == f"frozen bfloat16, {precision}, head float32"
    with parts.in_their_arithmetic():
        chosen = [(getattr(layer, "convolution", layer), layer.dtype_policy.name) for layer in parts.upper.layers]
    kinds = (layers.DepthwiseConv2D, layers.SeparableConv2D)
    assert {policy for layer, policy in chosen if isinstance(layer, kinds)} == depthwise
    # One that multiplies often for each number: of 320 channels to 1280, of 512 to 512 in 3 x 3.
    widest = {policy for layer, policy in chosen if isinstance(layer, layers.Conv2D) and layer.filters in (512, 1280)}
    assert widest == (set() if backbone == "xception" else {"mixed_bfloat16"})


@pytest.mark.parametrize(
    ("shape", "policy"),
    [
        ((1, 1, 192, 1152), "mixed_bfloat16"),
        ((1, 1, 24, 144), "float32"),
        ((5, 5, 1152, 1), "float32"),
        ((768, 3072), "mixed_bfloat16"),
    ],
)
def test_wide_is_what_multiplies_often_for_each_number(shape, policy):
    layer = layers.Identity()
    layer.kernel = np.empty(shape)
    assert hardware.Arithmetic("mixed_bfloat16", everywhere=False).policy_of(layer).name == policy
