"""Weights and structure of KerasHub's vision transformers, whose layers can be neither cut nor saved by plain Keras."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import keras
import numpy as np

from pipeline.models.transformer_weights import Attention, AttentionPool, Block, Linear, Mlp, Norm, Transformer
from pipeline.system.errors import PipelineError

# In quick_gelu(x) = x * sigmoid(1.702 x) = silu(1.702 x) / 1.702.
_QUICK = 1.702


def _dino_v2(network: Any) -> Transformer:
    _refuse(network, "use_swiglu_ffn")
    stem = network.embeddings
    positions = _array(stem.position_embeddings)[0]
    # Register tokens have no position.
    prefix = [_array(stem.cls_token)[0] + positions[:1]]
    prefix += [_array(stem.register_tokens)[0]] if stem.num_register_tokens else []
    return Transformer(
        patch=_patch(stem.patch_embeddings.projection),
        patch_size=network.patch_size,
        heads=network.num_heads,
        prefix=np.concatenate(prefix),
        positions=positions[1:],
        antialias=network.antialias_in_interpolation,
        blocks=tuple(
            Block(
                norms=(_norm(each.norm1), _norm(each.norm2)),
                attention=_attention(each.attention.attention),
                mlp=_mlp(each.mlp.fc1, each.mlp.fc2),
                scales=(_array(each.layer_scale1.lambda1), _array(each.layer_scale2.lambda1)),
            )
            for each in network.encoder.layers
        ),
        norm=_norm(network.layernorm),
    )


def _dino_v3(network: Any) -> Transformer:
    _refuse(network, "use_gated_mlp")
    stem = network.embeddings
    prefix = [_array(stem.cls_token)[0]]
    prefix += [_array(stem.register_tokens)[0]] if stem.num_register_tokens else []
    return Transformer(
        patch=_patch(stem.patch_embeddings.projection),
        patch_size=network.patch_size,
        heads=network.num_heads,
        prefix=np.concatenate(prefix),
        positions=None,
        rotary_base=network.rope_theta,
        blocks=tuple(
            Block(
                norms=(_norm(each.norm1), _norm(each.norm2)),
                attention=Attention(
                    _linear(each.attention.query_dense),
                    _linear(each.attention.key_dense),
                    _linear(each.attention.value_dense),
                    _linear(each.attention.output_dense),
                ),
                mlp=_mlp(each.mlp.up_proj, each.mlp.down_proj, network.hidden_activation),
                scales=(_array(each.layer_scale1.lambda1), _array(each.layer_scale2.lambda1)),
            )
            for each in network.encoder.layers
        ),
        norm=_norm(network.layernorm),
    )


def _vit(network: Any) -> Transformer:
    _, stem, encoder = network.layers
    positions = _array(stem.position_embedding.embeddings)
    tokens = [stem.class_token] if stem.use_class_token else []
    return Transformer(
        **_with_tokens(stem.patch_embedding, tokens, positions),
        heads=network.num_heads,
        blocks=_blocks(encoder.encoder_layers, ("layer_norm_1", "layer_norm_2"), "mha", ("mlp.dense_1", "mlp.dense_2")),
        norm=_norm(encoder.layer_norm),
    )


def _deit(network: Any) -> Transformer:
    _, stem, encoder = network.layers
    tokens = [stem.class_token, stem.distillation_token]
    return Transformer(
        **_with_tokens(stem.patch_embedding, tokens, _array(stem.position_embedding)[0]),
        heads=network.num_heads,
        blocks=_blocks(
            encoder.encoder_layers, ("layer_norm_1", "layer_norm_2"), "mha", ("mlp.dense", "output_layer.dense")
        ),
        norm=_norm(encoder.layer_norm),
    )


def _clip(network: Any) -> Transformer:
    stem, activation = network.embedding, network.intermediate_activation
    positions = _array(stem.position_embedding.embeddings)
    return Transformer(
        **_with_tokens(stem.patch_embedding, [stem.class_embedding], positions),
        heads=network.num_heads,
        first_norm=_norm(network.pre_layer_norm),
        blocks=_blocks(
            network.encoder_layers, ("layer_norm_1", "layer_norm_2"), "attention", ("dense_1", "dense_2"), activation
        ),
        norm=_norm(network.layer_norm),
    )


def _siglip(network: Any) -> Transformer:
    stem, head, activation = network.embedding, network.head, network.intermediate_activation
    return Transformer(
        **_with_tokens(stem.patch_embedding, [], _array(stem.position_embedding.embeddings)),
        heads=network.num_heads,
        blocks=_blocks(
            network.encoder_layers, ("layer_norm1", "layer_norm2"), "self_attn", ("mlp.fc1", "mlp.fc2"), activation
        ),
        norm=_norm(network.post_layer_norm),
        pool=AttentionPool(
            query=_array(head.probe)[0, 0],
            attention=_attention(head.attention),
            norm=_norm(head.layer_norm),
            mlp=_mlp(head.mlp.fc1, head.mlp.fc2, activation),
        ),
    )


TRANSFORMERS: dict[str, Callable[[Any], Transformer]] = {
    "CLIPVisionEncoder": _clip,
    "DINOV2Backbone": _dino_v2,
    "DINOV3Backbone": _dino_v3,
    "DeiTBackbone": _deit,
    "SigLIPVisionEncoder": _siglip,
    "ViTBackbone": _vit,
}
"""Functions that read the weights of a network, by the name of its class in `keras_hub.models`."""


def _blocks(
    encoder: Any, norms: tuple[str, str], attention: str, dense: tuple[str, str], activation: str = "gelu"
) -> tuple[Block, ...]:
    """Return the blocks of an encoder, from its layers and the names of their parts."""
    return tuple(
        Block(
            norms=(_norm(attrgetter(norms[0])(each)), _norm(attrgetter(norms[1])(each))),
            attention=_attention(attrgetter(attention)(each)),
            mlp=_mlp(attrgetter(dense[0])(each), attrgetter(dense[1])(each), activation),
        )
        for each in encoder
    )


def _refuse(network: Any, option: str) -> None:
    if getattr(network, option):
        raise PipelineError(f"backbone.preset: networks with {option} are not supported; use a smaller preset")


def _with_tokens(patch: keras.layers.Conv2D, tokens: list[Any], positions: np.ndarray) -> dict[str, Any]:
    """Return the parts of a network with a position for each token and patch."""
    own = np.concatenate([positions[:0], *(_array(token).reshape(1, -1) for token in tokens)])
    return {
        "patch": _patch(patch),
        "patch_size": patch.kernel_size[0],
        "prefix": own + positions[: len(own)],
        "positions": positions[len(own) :],
    }


def _patch(convolution: keras.layers.Conv2D) -> Linear:
    kernel = _array(convolution.kernel)
    bias = _array(convolution.bias) if convolution.use_bias else None
    return Linear(kernel.reshape(-1, kernel.shape[-1]), bias)


def _attention(layer: keras.layers.MultiHeadAttention) -> Attention:
    """Return the weights of attention as those of dense layers."""

    def inwards(dense: keras.layers.EinsumDense) -> Linear:
        kernel = _array(dense.kernel)
        return Linear(kernel.reshape(len(kernel), -1), None if dense.bias is None else _array(dense.bias).ravel())

    outwards = layer.output_dense
    kernel = _array(outwards.kernel)
    output = Linear(kernel.reshape(-1, kernel.shape[-1]), None if outwards.bias is None else _array(outwards.bias))
    return Attention(inwards(layer.query_dense), inwards(layer.key_dense), inwards(layer.value_dense), output)


def _mlp(first: keras.layers.Dense, second: keras.layers.Dense, activation: str = "gelu") -> Mlp:
    expand, contract = _linear(first), _linear(second)
    if activation == "quick_gelu":
        assert expand.bias is not None
        expand = Linear(expand.kernel * _QUICK, expand.bias * _QUICK)
        return Mlp(expand, Linear(contract.kernel / _QUICK, contract.bias), "silu")
    if activation not in ("gelu", "gelu_approximate", "silu"):
        raise PipelineError(f"backbone.preset: the activation {activation} is not supported; use another preset")
    return Mlp(expand, contract, activation)


def _linear(dense: keras.layers.Dense) -> Linear:
    return Linear(_array(dense.kernel), _array(dense.bias) if dense.use_bias else None)


def _norm(layer: keras.layers.LayerNormalization) -> Norm:
    return Norm(_array(layer.gamma), _array(layer.beta), layer.epsilon)


def _array(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable)
