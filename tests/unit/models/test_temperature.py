"""A file at a temperature has the outputs and the bytes of a classifier whose weights Keras has scaled."""

import numpy as np
import pytest

from pipeline.config.image import Decoding
from pipeline.models.classifier import HEAD, apply_temperature
from pipeline.models.saving import load_classifier, save_classifier
from pipeline.models.temperature import write_at_temperature
from tests.support.backbones import small, small_classifier


@pytest.mark.parametrize("overrides", [[], ["train.hidden_units=5"]])
def test_only_the_last_layer_is_scaled(tmp_path, overrides):
    model = small_classifier(small("mobilenet_v2", *overrides))
    last = model.get_layer(HEAD).layers[-1]
    last.set_weights([np.random.default_rng(1).normal(size=each.shape) for each in last.get_weights()])
    trained, scaled, expected = (tmp_path / f"{name}.keras" for name in ("trained", "scaled", "expected"))
    save_classifier(model, ["a", "b", "ü"], trained, Decoding(32, 12))
    write_at_temperature(trained, 2.5, scaled)
    apply_temperature(model, 2.5)
    save_classifier(model, ["a", "b", "ü"], expected, Decoding(32, 12))
    assert scaled.read_bytes() == expected.read_bytes()
    images = np.random.default_rng(2).integers(0, 256, (2, *model.input_shape[1:]), dtype=np.uint8)
    assert np.array_equal(load_classifier(scaled)[0](images), model(images))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["expected.keras", "scaled.keras", "trained.keras"]
