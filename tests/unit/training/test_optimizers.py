"""Optimizers do what a phase asks for, and learning rates follow its schedule."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from pipeline.config import OPTIMIZERS
from pipeline.training.optimizers import FusedAdam, Rates, make_optimizer


@pytest.fixture
def network():
    keras.utils.set_random_seed(1)
    inputs = keras.layers.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="lower")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization(name="norm")(x))
    return keras.Model(inputs, keras.layers.Dense(3, "softmax", name="upper")(x))


def moved(network, settings, factors=None, steps=1, scaling=False, still=False) -> dict[str, np.ndarray]:
    """How far each variable moves; `still`: with gradients of 0."""
    variables = network.trainable_variables
    rates = Rates(settings, 10)
    optimizer = make_optimizer(settings, rates, variables, rate_factors=factors or {}, loss_scaling=scaling)
    optimizer.build(variables)
    before = [variable.numpy() for variable in variables]
    for _ in range(steps):
        gradients = [keras.ops.full_like(variable, 0.0 if still else 0.1) for variable in variables]
        optimizer.apply(gradients, variables)
    names = [variable.path for variable in variables]
    return {name: variable.numpy() - old for name, variable, old in zip(names, variables, before, strict=True)}


@pytest.fixture
def settings(configure):
    plain = configure("finetune.weight_decay=0", "finetune.learning_rate=0.01").finetune
    return replace(plain, schedule="constant", warmup_epochs=0.0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_moves_the_weights_and_knows_all_options(network, settings, name):
    strengths = {"weight_decay": 0.1, "clip_norm": 1.0, "ema": 0.9}
    moves = moved(network, replace(settings, optimizer=name, **strengths), steps=2)
    assert all(np.abs(move).max() > 0 for move in moves.values())


def test_the_list_is_that_of_keras():
    known = {name.lower() for name in dir(keras.optimizers) if name[0].isupper()}
    # Wrappers, and one whose weights to validate with are others than those it learns with.
    assert set(OPTIMIZERS) == known - {
        "optimizer",
        "lossscaleoptimizer",
        "multioptimizer",
        "optimizermap",
        "schedulefreeadamw",
    }


@pytest.mark.parametrize("factors", [False, True])
def test_weight_decay_spares_biases_and_normalisation(network, settings, factors):
    lower = {id(variable): 0.5 for variable in network.get_layer("lower").trainable_variables} if factors else {}
    before = network.get_layer("lower").kernel.numpy()
    moves = moved(network, replace(settings, weight_decay=0.1), lower, still=True)
    factor = 0.5 if factors else 1.0
    np.testing.assert_allclose(moves.pop("lower/kernel"), -before * 0.1 * 0.01 * factor, rtol=1e-3)
    assert [name for name, move in moves.items() if np.abs(move).max() > 0] == ["upper/kernel"]


@pytest.mark.parametrize("name", ["adamw", "sgd", "lion"])
def test_a_factor_on_the_rate_moves_a_variable_by_that_factor(network, settings, name):
    settings = replace(settings, optimizer=name)
    start = network.get_weights()
    plain = list(moved(network, settings).values())
    network.set_weights(start)
    lower = {id(variable): 0.25 for variable in network.get_layer("lower").trainable_variables}
    scaled = list(moved(network, settings, lower).values())
    np.testing.assert_allclose(scaled[0], 0.25 * plain[0], rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(scaled[-1], plain[-1], rtol=1e-5)


def test_accumulated_batches_make_one_step(network, settings):
    settings = replace(settings, accumulate=3)
    assert all((move == 0).all() for move in moved(network, settings, steps=2).values())
    assert all((move != 0).any() for move in moved(network, settings, steps=3).values())


def test_clipping_is_by_all_gradients_together(network, settings):
    moves = moved(network, replace(settings, optimizer="sgd", momentum=0.0, clip_norm=0.5))
    assert np.sqrt(sum((move**2).sum() for move in moves.values())) == pytest.approx(0.5 * 0.01, rel=1e-4)


def test_float16_scales_the_loss(network, settings):
    assert all(np.abs(move).max() > 0 for move in moved(network, settings, scaling=True).values())
    variables, rates = network.trainable_variables, Rates(settings, 10)
    optimizer = make_optimizer(settings, rates, variables, rate_factors={}, loss_scaling=True)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["schedule=constant", "warmup_epochs=0"], [1, 1, 1, 1]),
        (["schedule=constant", "warmup_epochs=1"], [0, 1, 1, 1]),
        (["schedule=cosine", "warmup_epochs=0"], [1, 0.75, 0.25, 0]),
        (["schedule=cosine", "warmup_epochs=1"], [0, 1, 0.5, 0]),
        (["schedule=cosine", "warmup_epochs=1", "warmup_steps=20"], [0, 0.5, 1, 0]),
        (["schedule=step", "step_epochs=1", "step_factor=0.1", "warmup_epochs=0"], [1, 0.1, 0.01, 0.001]),
        (["schedule=step", "step_epochs=1", "step_factor=0.1", "warmup_epochs=1"], [0, 1, 0.1, 0.01]),
        (["schedule=one_cycle", "warmup_epochs=0"], [0.04, 0.9444, 0.4045, 0]),
    ],
)
def test_learning_rates(configure, overrides, expected):
    keys = ["epochs=3", "learning_rate=1", *overrides]
    rates = Rates(configure(*(f"finetune.{each}" for each in keys)).finetune, steps_per_epoch=10)
    if overrides[0] == "schedule=one_cycle":
        assert float(rates(9)) == 1
        expected = [0.04, (1 + np.cos(np.pi / 21)) / 2, (1 + np.cos(np.pi * 11 / 21)) / 2, 0]
    np.testing.assert_allclose([float(rates(step)) for step in (0, 10, 20, 30)], expected, atol=1e-6)
    np.testing.assert_allclose(rates.of(11)[[0, 10]], expected[:2], atol=1e-6)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_fused_adam_learns_what_keras_adam_learns(ema):
    keras.utils.set_random_seed(1)
    inputs, targets = np.random.default_rng(1).normal(size=(2, 64, 5)).astype(np.float32)
    learned = []
    for kind in (FusedAdam, keras.optimizers.Adam):
        keras.utils.set_random_seed(2)
        model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(7, "relu"), keras.layers.Dense(5)])
        options = {"use_ema": True, "ema_momentum": ema} if ema else {}
        model.compile(kind(learning_rate=0.01, weight_decay=0.1, **options), "mse")
        model.fit(inputs, targets, batch_size=16, epochs=5, shuffle=False, verbose=0)
        learned.append([*model.get_weights(), *(each.numpy() for each in model.optimizer.variables)])
    for one, other in zip(*learned, strict=True):
        # Weights move by 0.01 a step, so that another formula would differ by far more.
        np.testing.assert_allclose(one, other, atol=2e-5)
