"""Small networks of KerasHub with made weights, and folders that hold them."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

SIZE, PATCH, WIDTH = 24, 4, 16
_COMMON = {"patch_size": PATCH, "hidden_dim": WIDTH, "num_layers": 3, "num_heads": 2, "image_shape": (SIZE, SIZE, 3)}
_WIDE = {"intermediate_dim": 32}

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("CLIPVisionEncoder", _COMMON | _WIDE),
    "deit": ("DeiTBackbone", _COMMON | _WIDE),
    "dinov2": ("DINOV2Backbone", _COMMON | _WIDE | {"position_embedding_shape": (SIZE, SIZE, 3)}),
    "dinov2_registers": (
        "DINOV2Backbone",
        _COMMON | _WIDE | {"position_embedding_shape": (SIZE, SIZE, 3), "num_register_tokens": 2},
    ),
    "dinov3": ("DINOV3Backbone", _COMMON | _WIDE | {"num_register_tokens": 2, "use_key_bias": False}),
    "siglip": ("SigLIPVisionEncoder", _COMMON | _WIDE),
    "vit": ("ViTBackbone", _COMMON | {"mlp_dim": 32}),
    "vit_without_token": ("ViTBackbone", _COMMON | {"mlp_dim": 32, "use_class_token": False}),
}
"""Class and arguments of a small vision transformer of each family."""

MOBILENET: dict[str, Any] = {
    "stackwise_expansion": [[8, 12], [12, 16]],
    "stackwise_num_blocks": [2, 2],
    "stackwise_num_filters": [[8, 8], [12, 12]],
    "stackwise_kernel_size": [[3, 3], [5, 5]],
    "stackwise_num_strides": [[2, 1], [2, 1]],
    "stackwise_se_ratio": [[None, None], [0.25, 0.25]],
    "stackwise_activation": [["relu", "relu"], ["hard_swish", "hard_swish"]],
    "stackwise_padding": [[1, 1], [2, 2]],
    "output_num_filters": 32,
    "input_num_filters": 8,
    "depthwise_filters": 8,
    "depthwise_stride": 2,
    "depthwise_residual": False,
    "squeeze_and_excite": 0.5,
    "last_layer_filter": 24,
    "input_activation": "hard_swish",
    "output_activation": "hard_swish",
    "image_shape": (32, 32, 3),
}
"""Arguments of a small MobileNetV3."""


def built(kind: str, arguments: dict[str, Any]) -> Any:
    """A network of KerasHub, each of whose weights makes a difference."""
    import keras_hub

    keras.utils.set_random_seed(1)
    network = getattr(keras_hub.models, kind)(**arguments)
    generator = np.random.default_rng(1)
    for weight in network.weights:
        if "int" in weight.dtype:
            # The numbers of positions, which CLIP expects in its file.
            weight.assign(np.arange(weight.shape[1])[None])
        else:
            weight.assign(weight + generator.normal(0, 0.05, weight.shape) ** (2 if "variance" in weight.path else 1))
    if hasattr(network, "embeddings") and hasattr(network.embeddings, "interpolated_position_embeddings"):
        network.embeddings.interpolated_position_embeddings.assign(network.embeddings.position_embeddings)
    return network


def small_network(family: str) -> Any:
    """A small vision transformer."""
    return built(*SMALL[family])


def preset_folder(network: Any, folder: Path) -> Path:
    """The folder of a KerasHub preset with this network."""
    network.save_to_preset(str(folder))
    return folder


def hugging_face_folder(folder: Path) -> Path:
    """The folder of a small ViT in the format of Hugging Face's transformers."""
    from safetensors.numpy import save_file

    generator = np.random.default_rng(1)

    def values(*shape: int) -> np.ndarray:
        return generator.normal(0, 0.2, shape).astype(np.float32)

    tensors = {
        "vit.embeddings.cls_token": values(1, 1, WIDTH),
        "vit.embeddings.position_embeddings": values(1, (SIZE // PATCH) ** 2 + 1, WIDTH),
        "vit.embeddings.patch_embeddings.projection.weight": values(WIDTH, 3, PATCH, PATCH),
        "vit.embeddings.patch_embeddings.projection.bias": values(WIDTH),
        "vit.layernorm.weight": 1 + values(WIDTH),
        "vit.layernorm.bias": values(WIDTH),
    }
    dense = {f"attention.attention.{role}": (WIDTH, WIDTH) for role in ("query", "key", "value")}
    dense |= {"attention.output.dense": (WIDTH, WIDTH), "intermediate.dense": (32, WIDTH), "output.dense": (WIDTH, 32)}
    for block in range(3):
        for name, shape in dense.items():
            tensors[f"vit.encoder.layer.{block}.{name}.weight"] = values(*shape)
            tensors[f"vit.encoder.layer.{block}.{name}.bias"] = values(shape[0])
        for name in ("layernorm_before", "layernorm_after"):
            tensors[f"vit.encoder.layer.{block}.{name}.weight"] = 1 + values(WIDTH)
            tensors[f"vit.encoder.layer.{block}.{name}.bias"] = values(WIDTH)
    config = {
        "model_type": "vit",
        "architectures": ["ViTModel"],
        "image_size": SIZE,
        "patch_size": PATCH,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "qkv_bias": True,
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def answer(network: Any, images: np.ndarray) -> np.ndarray:
    """What a network of KerasHub computes from images, whatever it calls its input."""
    names = list(network.input) if isinstance(network.input, dict) else None
    return np.asarray(network({names[0]: images} if names else images, training=False))
