"""Architectures of the KerasHub presets that conf/backbone/ names, so that nothing is downloaded for random weights."""

from typing import Any


def _transformer(width: int, kind: str = "intermediate_dim", **others: Any) -> dict[str, Any]:
    """Return the arguments of a vision transformer of 12 blocks, whose heads have 64 features."""
    return {"hidden_dim": width, "num_layers": 12, "num_heads": width // 64, kind: 4 * width, **others}


def _of_images(size: int, patch: int) -> dict[str, Any]:
    return {"image_shape": (size, size, 3), "patch_size": patch}


ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "clip_vit_base_patch16": ("CLIPVisionEncoder", _transformer(768, **_of_images(224, 16))),
    "csp_darknet_53_ra_imagenet": (
        "CSPNetBackbone",
        {
            "stem_filters": 32,
            "stem_kernel_size": 3,
            "stem_strides": 1,
            "stackwise_depth": [1, 2, 8, 8, 4],
            "stackwise_num_filters": [64, 128, 256, 512, 1024],
            "stackwise_strides": 2,
            "bottle_ratio": (0.5, 1.0),
            "block_ratio": (1.0, 0.5),
            "expand_ratio": (2.0, 1.0),
            "stage_type": "csp",
            "block_type": "dark_block",
            "down_growth": True,
            "stem_padding": "same",
        },
    ),
    "deit_small_distilled_patch16_224_imagenet": ("DeiTBackbone", _transformer(384, **_of_images(224, 16))),
    "dinov2_base": ("DINOV2Backbone", _transformer(768, **_of_images(518, 14))),
    "dinov2_small": ("DINOV2Backbone", _transformer(384, **_of_images(518, 14))),
    "dinov3_vit_small_lvd1689m": (
        "DINOV3Backbone",
        _transformer(384, num_register_tokens=4, use_key_bias=False, **_of_images(224, 16)),
    ),
    "mobilenet_v3_large_100_imagenet": (
        "MobileNetBackbone",
        {
            "stackwise_num_blocks": [2, 3, 4, 2, 3],
            "stackwise_expansion": [[64, 72], [72, 120, 120], [240, 200, 184, 184], [480, 672], [672, 960, 960]],
            "stackwise_num_filters": [[24] * 2, [40] * 3, [80] * 4, [112] * 2, [160] * 3],
            "stackwise_kernel_size": [[3] * 2, [5] * 3, [3] * 4, [3] * 2, [5] * 3],
            "stackwise_num_strides": [[2, 1], [2, 1, 1], [2, 1, 1, 1], [1, 1], [2, 1, 1]],
            "stackwise_se_ratio": [[None] * 2, [0.25] * 3, [None] * 4, [0.25] * 2, [0.25] * 3],
            "stackwise_activation": [["relu"] * 2, ["relu"] * 3, *([["hard_swish"] * n for n in (4, 2, 3)])],
            "stackwise_padding": [[1] * 2, [2] * 3, [1] * 4, [1] * 2, [2] * 3],
            "output_num_filters": 1024,
            "input_num_filters": 16,
            "depthwise_filters": 16,
            "depthwise_stride": 1,
            "depthwise_residual": True,
            "squeeze_and_excite": None,
            "last_layer_filter": 960,
            "input_activation": "hard_swish",
            "output_activation": "hard_swish",
        },
    ),
    "resnet_vd_50_imagenet": (
        "ResNetBackbone",
        {
            "input_conv_filters": [32, 32, 64],
            "input_conv_kernel_sizes": [3, 3, 3],
            "stackwise_num_filters": [64, 128, 256, 512],
            "stackwise_num_blocks": [3, 4, 6, 3],
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": "bottleneck_block_vd",
        },
    ),
    "siglip2_base_patch16_224": ("SigLIPVisionEncoder", _transformer(768, **_of_images(224, 16))),
    "vit_base_patch16_224_imagenet": ("ViTBackbone", _transformer(768, "mlp_dim", **_of_images(224, 16))),
}
"""Class in `keras_hub.models` and its arguments, by preset."""
