"""Weights and structure of a vision transformer, wherever they come from."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Linear:
    """Weights of a dense layer."""

    kernel: np.ndarray
    """Float [inputs, outputs]."""
    bias: np.ndarray | None
    """Float [outputs]; None if the layer has none."""


@dataclass(frozen=True)
class Norm:
    """Weights of a layer normalization."""

    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float


@dataclass(frozen=True)
class Mlp:
    """Weights of two dense layers, with an activation between them."""

    expand: Linear
    contract: Linear
    activation: str
    """gelu, gelu_approximate or silu."""


@dataclass(frozen=True)
class Attention:
    """Weights of the projections of attention, whose heads are side by side."""

    query: Linear
    key: Linear
    value: Linear
    output: Linear


@dataclass(frozen=True, kw_only=True)
class Block:
    """Weights of a block: self-attention and dense layers, each in a residual branch."""

    norms: tuple[Norm, Norm]
    """Normalizations at the start of both branches."""
    attention: Attention
    mlp: Mlp
    scales: tuple[np.ndarray, np.ndarray] | None = None
    """Factors of each feature at the end of both branches, float [width]; None without them."""


@dataclass(frozen=True, kw_only=True)
class AttentionPool:
    """Weights of a pooling by attention: one learned query, and dense layers in a residual branch."""

    query: np.ndarray
    """Query, float [width]."""
    attention: Attention
    norm: Norm
    mlp: Mlp


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """Weights and structure of a vision transformer."""

    patch: Linear
    """Embedding of a patch, whose values are ordered by row, column and channel."""
    patch_size: int
    heads: int
    prefix: np.ndarray
    """Tokens before those of the patches, the class token first, with their positions; float [tokens, width]."""
    positions: np.ndarray | None
    """Embeddings of the positions of a square grid of patches, float [positions, width]; None for rotary ones."""
    antialias: bool = True
    """Whether positions are interpolated to a smaller grid with antialiasing."""
    rotary_base: float | None = None
    """Base period of rotary position embeddings; None without them."""
    first_norm: Norm | None = None
    """Normalization before the first block."""
    blocks: tuple[Block, ...]
    norm: Norm
    """Normalization after the last block."""
    pool: AttentionPool | None = None
