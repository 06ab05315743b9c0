"""Sizes of images: the side of a square, or height and width, in pixels."""

from omegaconf import DictConfig, ListConfig, OmegaConf

Size = int | list[int]
"""Side of a square, or [height, width] of another rectangle: a square is a number, so that equal sizes are equal."""


def size_of(height: int, width: int) -> Size:
    """Return the size with this height and width."""
    return height if height == width else [height, width]


def height_width(size: Size) -> tuple[int, int]:
    """Return the height and the width of a size."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def size_text(size: Size) -> str:
    """Return a size for people: `224 px`, or `160 x 320 px`, the height first."""
    return f"{size} px" if isinstance(size, int) else f"{size[0]} x {size[1]} px"


def squares_as_numbers(cfg: DictConfig) -> None:
    """Replace, in place, each size of a configuration that has two equal sides by one number."""
    rounds = OmegaConf.select(cfg, "finetune.phases")
    count = len(rounds) if isinstance(rounds, ListConfig) else 0
    keys = [f"finetune.phases[{number}].image_size" for number in range(count)]
    for key in ("image_size", "dataset.image_size", "finetune.image_size", *keys):
        size = OmegaConf.select(cfg, key)
        if isinstance(size, ListConfig) and len(size) == 2 and size[0] == size[1]:
            OmegaConf.update(cfg, key, size[0], merge=False)
