"""Vision transformers as flat functional networks of plain Keras layers, with a cut at each block.

A file with such a network loads in Keras alone, without the package that its weights come from.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from pipeline.config.size import Size, height_width
from pipeline.models.transformer_weights import Attention, AttentionPool, Block, Linear, Mlp, Norm, Transformer
from pipeline.system.errors import PipelineError

ROWS, SUM = "patch_rows", "_mlp_add"
"""Name of the layer that divides images into rows and columns of patches; end of the name of a block's last layer."""

Grid = tuple[int, int]
"""Numbers of rows and columns of patches."""


def vision_transformer(parts: Transformer, image_size: Size, pooling: str) -> keras.Model:
    """Build a network that maps images, float [b, h, w, 3], to feature maps, float [b, h', w', c].

    Args:
        parts: Weights, of which the network gets copies. Position embeddings are interpolated to the image size.
        image_size: Size of the images, of which each side is a multiple of the patch size.
        pooling: average outputs the patches as maps. token outputs the class token as a map of one cell. token_average
            outputs the maps, each cell of which also has the features of the class token. attention outputs the result
            of the pooling that the network was pretrained with, as a map of one cell.

    Raises:
        PipelineError: A side is not a multiple of the patch size, or the network has no such pooling.
    """
    _check(parts, image_size, pooling)
    height, width = height_width(image_size)
    grid = rows, columns = height // parts.patch_size, width // parts.patch_size
    prefix, features = len(parts.prefix), parts.patch.kernel.shape[1]
    inputs = layers.Input((height, width, 3))
    x = layers.Reshape((rows, parts.patch_size, columns, -1), name=ROWS)(inputs)
    x = layers.Permute((1, 3, 2, 4), name="patch_order")(x)
    x = layers.Reshape((rows * columns, len(parts.patch.kernel)), name="patches")(x)
    # What a row of zeros becomes is the bias of its position, which serves as a token.
    x = layers.ZeroPadding1D((prefix, 0), name="prefix")(x) if prefix else x
    embedding = layers.EinsumDense("btp,pw->btw", (prefix + rows * columns, features), bias_axes="tw", name="embedding")
    x = _with_weights(embedding, x, parts.patch.kernel, _tokens(parts, grid))
    x = _norm(x, parts.first_norm, "first_norm") if parts.first_norm else x
    rotate = _rotation(parts, grid, parts.rotary_base) if parts.rotary_base else None
    for number, block in enumerate(parts.blocks, start=1):
        x = _block(x, block, f"block{number}", parts.heads, rotate)
    x = _norm(x, parts.norm, "norm")
    return keras.Model(inputs, _pooled(x, parts, grid, pooling))


def patch_grid(backbone: keras.Model) -> Grid | None:
    """Return the numbers of rows and columns of patches in a vision transformer's images; None for another network."""
    for layer in backbone.layers:
        if layer.name == ROWS:
            _, rows, _, columns, _ = layer.output.shape
            return rows, columns
    return None


def below_last_block(backbone: keras.Model) -> keras.KerasTensor:
    """Return the tokens, [b, tokens, width], from which the last block of a vision transformer is computed."""
    ends = [layer.output for layer in backbone.layers if layer.name.endswith(SUM)]
    return ends[-2] if len(ends) > 1 else backbone.get_layer("embedding").output


def _check(parts: Transformer, image_size: Size, pooling: str) -> None:
    if wrong := [side for side in height_width(image_size) if side % parts.patch_size]:
        below = wrong[0] // parts.patch_size * parts.patch_size
        near = " or ".join(str(side) for side in (below, below + parts.patch_size) if side)
        if not isinstance(image_size, int):
            near += f" for {wrong[0]}"
        raise PipelineError(
            f"image_size: invalid value {image_size} with this backbone, whose patches have {parts.patch_size} pixels; use {near}"
        )
    possible = ["average"]
    possible += ["token", "token_average"] if len(parts.prefix) else []
    possible += ["attention"] if parts.pool else []
    if pooling not in possible:
        raise PipelineError(
            f"backbone.pooling: {pooling!r} is not possible with this backbone; allowed are {', '.join(possible)}"
        )


def _tokens(parts: Transformer, grid: Grid) -> np.ndarray:
    """Return the bias of each token, float [tokens, width]: itself or its position, and the bias of the patches."""
    positions = np.zeros((math.prod(grid), parts.patch.kernel.shape[1]), np.float32)
    if parts.positions is not None:
        positions = _interpolated(parts.positions, grid, antialias=parts.antialias)
    bias = 0 if parts.patch.bias is None else parts.patch.bias
    return np.concatenate([parts.prefix.reshape(-1, positions.shape[1]), positions + bias])


def _interpolated(positions: np.ndarray, grid: Grid, *, antialias: bool) -> np.ndarray:
    """Return position embeddings of a square grid for another one, float [rows * columns, width]."""
    side = math.isqrt(len(positions))
    if (side, side) == grid:
        return positions
    maps = ops.image.resize(
        positions.reshape(side, side, -1), grid, "bicubic", antialias=antialias, data_format="channels_last"
    )
    return ops.convert_to_numpy(maps).reshape(math.prod(grid), -1)


def _block(x: keras.KerasTensor, block: Block, name: str, heads: int, rotate: keras.Model | None) -> keras.KerasTensor:
    first, second = block.scales or (None, None)
    branch = _attention(_norm(x, block.norms[0], f"{name}_attention_norm"), block.attention, name, heads, rotate)
    x = layers.Add(name=f"{name}_attention_add")([x, _scaled(branch, first, f"{name}_attention_scale")])
    branch = _mlp(_norm(x, block.norms[1], f"{name}_mlp_norm"), block.mlp, f"{name}_mlp")
    return layers.Add(name=f"{name}{SUM}")([x, _scaled(branch, second, f"{name}_mlp_scale")])


def _attention(
    x: keras.KerasTensor, weights: Attention, name: str, heads: int, rotate: keras.Model | None
) -> keras.KerasTensor:
    tokens, width = x.shape[1], weights.query.kernel.shape[1]

    def projected(linear: Linear, role: str) -> keras.KerasTensor:
        split = layers.Reshape((tokens, heads, width // heads), name=f"{name}_{role}_heads")
        return split(_dense(x, linear, f"{name}_{role}"))

    query, key = projected(weights.query, "query"), projected(weights.key, "key")
    if rotate:
        query, key = rotate(query), rotate(key)
    x = ops.dot_product_attention(query, key, projected(weights.value, "value"), scale=(width // heads) ** -0.5)
    return _dense(layers.Reshape((tokens, width), name=f"{name}_attended")(x), weights.output, f"{name}_output")


def _rotation(parts: Transformer, grid: Grid, base: float) -> keras.Model:
    """Build the rotary position embedding of queries or keys, [b, tokens, heads, size], which all blocks share.

    Source:
        O. Siméoni et al., DINOv3, 2025.
    """
    size, prefix = parts.patch.kernel.shape[1] // parts.heads, len(parts.prefix)
    periods = base ** np.arange(0, 1, 4 / size)
    # Both sides of an image are from -1 to 1.
    rows, columns = np.meshgrid(*((np.arange(count) + 0.5) / count * 2 - 1 for count in grid), indexing="ij")
    places = np.stack([rows.ravel(), columns.ravel()], axis=1)
    angles = (2 * np.pi * places[:, :, None] / periods).reshape(-1, 1, size // 2)
    # Other tokens have no place.
    angles = np.concatenate([np.zeros((prefix, 1, size // 2)), angles])
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    inputs = layers.Input((prefix + math.prod(grid), parts.heads, size))
    first, second = ops.split(inputs, 2, axis=-1)
    x = layers.Concatenate(name="rotated")([first * cos - second * sin, second * cos + first * sin])
    return keras.Model(inputs, x, name="rotation")


def _mlp(x: keras.KerasTensor, mlp: Mlp, name: str) -> keras.KerasTensor:
    # No layer has this activation.
    approximate = mlp.activation == "gelu_approximate"
    x = _dense(x, mlp.expand, f"{name}_expand", "linear" if approximate else mlp.activation)
    return _dense(ops.gelu(x, approximate=True) if approximate else x, mlp.contract, f"{name}_contract")


def _dense(x: keras.KerasTensor, linear: Linear, name: str, activation: str = "linear") -> keras.KerasTensor:
    layer = layers.Dense(linear.kernel.shape[1], activation, use_bias=linear.bias is not None, name=name)
    return _with_weights(layer, x, linear.kernel, linear.bias)


def _norm(x: keras.KerasTensor, norm: Norm, name: str) -> keras.KerasTensor:
    return _with_weights(layers.LayerNormalization(epsilon=norm.epsilon, name=name), x, norm.gamma, norm.beta)


def _scaled(x: keras.KerasTensor, scale: np.ndarray | None, name: str) -> keras.KerasTensor:
    if scale is None:
        return x
    # Of Keras's layers, this one multiplies each feature by a weight, in all export formats.
    return _with_weights(layers.DepthwiseConv1D(1, use_bias=False, name=name), x, scale.reshape(1, -1, 1))


def _with_weights(layer: layers.Layer, x: keras.KerasTensor, *weights: np.ndarray | None) -> keras.KerasTensor:
    outputs = layer(x)
    layer.set_weights([weight for weight in weights if weight is not None])
    return outputs


def _pooled(x: keras.KerasTensor, parts: Transformer, grid: Grid, pooling: str) -> keras.KerasTensor:
    """Return the feature maps whose average over all positions is the result of the pooling."""
    prefix, width = len(parts.prefix), x.shape[-1]
    if pooling == "attention":
        assert parts.pool
        return layers.Reshape((1, 1, width), name="maps")(_attention_pooled(x, parts.pool, parts.heads))
    if pooling == "token":
        return layers.Reshape((1, 1, width), name="maps")(x[:, 0])
    patches = x[:, prefix:] if prefix else x
    if pooling == "token_average":
        token = layers.RepeatVector(math.prod(grid), name="repeated_token")(x[:, 0])
        patches = layers.Concatenate(name="token_and_patches")([token, patches])
    return layers.Reshape((*grid, patches.shape[-1]), name="maps")(patches)


def _attention_pooled(x: keras.KerasTensor, pool: AttentionPool, heads: int) -> keras.KerasTensor:
    """Return the features, [b, width], that a learned query finds in tokens, [b, tokens, width]."""
    weights, size = pool.attention, x.shape[-1] // heads
    # The query is the same for all images, so a single layer computes its products with the keys.
    query = pool.query @ weights.query.kernel + (0 if weights.query.bias is None else weights.query.bias)
    kernel = np.einsum("whs,hs->wh", weights.key.kernel.reshape(-1, heads, size), query.reshape(heads, size))
    kernel = kernel / size**0.5
    shares = layers.Softmax(axis=1, name="pool_shares")(_dense(x, Linear(kernel, None), "pool_products"))
    value = layers.Reshape((x.shape[1], heads, size), name="pool_heads")(_dense(x, weights.value, "pool_value"))
    x = ops.sum(layers.Multiply(name="pool_parts")([ops.expand_dims(shares, -1), value]), axis=1)
    x = _dense(layers.Reshape((heads * size,), name="pool_attended")(x), weights.output, "pool_output")
    return layers.Add(name="pool_add")([x, _mlp(_norm(x, pool.norm, "pool_norm"), pool.mlp, "pool_mlp")])
