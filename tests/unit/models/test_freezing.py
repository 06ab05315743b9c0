"""Factors on the learning rate, by block."""

from dataclasses import replace

import keras
import pytest

from pipeline.models.freezing import first_trainable, rate_factors, unfreeze
from pipeline.system.errors import PipelineError
from tests.support.training import classifier


def test_rate_factors_go_by_blocks_from_the_top(configure):
    config = configure("backbone.weights=random")
    keras.utils.set_random_seed(1)
    model, blocks = classifier(config), config.backbone.blocks
    backbone, head = model.get_layer("backbone"), model.get_layer("head")
    settings = replace(config.finetune, rate_decay=0.5, rate_factors={"block7a": 0.1, "stem": 0.0})
    factors = rate_factors(model, blocks, settings)
    kernel = {
        name: factors[id(backbone.get_layer(f"{name}_conv").kernel)]
        for name in ("stem", "block6d_project", "block7a_project")
    }
    assert kernel == {"stem": 0.0, "block6d_project": 0.5, "block7a_project": 0.1}
    assert factors[id(head.layers[-1].kernel)] == 1
    expected = r"block9 is not a block of this backbone; allowed are block7a, block6d, .*, block1a, stem, head"
    with pytest.raises(PipelineError, match=expected):
        rate_factors(model, blocks, replace(settings, rate_factors={"block9": 1}))


@pytest.mark.parametrize("block", ["block7a", "block3b"])
def test_a_block_is_unfrozen_from_its_first_layer_on(configure, block):
    config = configure("backbone.weights=random")
    backbone = classifier(config).get_layer("backbone")
    trainable = unfreeze(backbone, first_trainable(backbone, block, config.backbone.blocks), freeze_batch_norm=True)
    assert trainable[0] is backbone.get_layer(f"{block}_expand_conv")
    below = [layer.trainable_weights for layer in backbone.layers[: backbone.layers.index(trainable[0])]]
    assert not any(below)
