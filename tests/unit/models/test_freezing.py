"""Factors on the learning rate, by block."""

import keras
import pytest

from pipeline.models.freezing import rate_factors
from pipeline.system.errors import PipelineError
from tests.support.training import classifier


def test_rate_factors_go_by_blocks_from_the_top(configure):
    config = configure("backbone.weights=random")
    keras.utils.set_random_seed(1)
    model, blocks = classifier(config), config.backbone.blocks
    backbone, head = model.get_layer("backbone"), model.get_layer("head")
    factors = rate_factors(backbone, head, blocks, decay=0.5, named={"block7a": 0.1, "stem": 0.0})
    kernel = {
        name: factors[id(backbone.get_layer(f"{name}_conv").kernel)]
        for name in ("stem", "block6d_project", "block7a_project")
    }
    assert kernel == {"stem": 0.0, "block6d_project": 0.5, "block7a_project": 0.1}
    assert factors[id(head.layers[-1].kernel)] == 1
    expected = r"block9 is not a block of this backbone; there are block7a, block6d, .*, block1a, stem, head"
    with pytest.raises(PipelineError, match=expected):
        rate_factors(backbone, head, blocks, decay=1.0, named={"block9": 1})
