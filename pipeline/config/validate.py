"""Check a composed configuration, and report all its problems in one error."""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import ADDRESSES, Config
from pipeline.config.limits import satisfies
from pipeline.config.size import height_width
from pipeline.config.training import HUB, WEIGHTS
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve

RENAMED = {
    "hardware.picture_cache_gib": "hardware.image_cache_gib",
    "export.int8_pictures": "export.int8_images",
}
"""Former names of keys, mapped to their current names."""
# Similarity of its last part from which an unknown key is taken for a misspelt one.
_MIN_LIKENESS = 0.7
_TYPES = {int: "an integer", float: "a number", str: "a text", bool: "true or false", types.NoneType: "null"}


class ConfigError(PipelineError):
    """Error for an invalid configuration, with a list of its problems."""

    def __init__(self, problems: Iterable[str]):
        """Create an error from one message per problem; repeated messages are dropped."""
        self.problems = list(dict.fromkeys(problems))
        # The list is the argument of the exception, so that the error can be pickled.
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "The configuration can't be used:\n" + "\n".join(f"  - {problem}" for problem in self.problems)


def known_keys(section: type = Config, prefix: str = "") -> list[str]:
    """Return all dotted keys of the schema, of sections and of single settings."""
    keys = []
    for each in fields(section):
        keys.append(prefix + each.name)
        if inner := section_of(each):
            keys += known_keys(inner, f"{prefix}{each.name}.")
    return keys


def section_of(key: dataclasses.Field) -> type | None:
    """Return the dataclass of a schema field that is a section, else None."""
    return typing.cast(type, key.type) if is_dataclass(key.type) else None


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return an error message for an unknown name, which suggests the most similar known name.

    Args:
        kind: Kind of name, such as key.
        name: Unknown name.
        known: All known names.
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"{name}: unknown {kind}" + (f"; did you mean {near[0]}?" if near else "")


def _unknown_key(name: str) -> str:
    """Return an error message for an unknown key: the nearest key's name, or else the keys of its section."""
    section, _, last = name.rpartition(".")
    keys = [(key, *key.rpartition(".")[::2]) for key in known_keys()]
    if near := difflib.get_close_matches(last, [own for *_, own in keys], n=1, cutoff=_MIN_LIKENESS):
        alike = [(parent != section, len(key), key) for key, parent, own in keys if own == near[0]]
        # The one in this section, or else the shortest.
        return f"{name}: unknown key; did you mean {min(alike)[-1]}?"
    there = ", ".join(own for _, parent, own in keys if parent == section)
    return f"{name}: unknown key; {section or 'the configuration'} has {there}"


def check(composed: DictConfig) -> Config:
    """Check a composed configuration, and convert it to its dataclasses.

    Raises:
        ConfigError: The configuration is invalid; the error names the key, value and allowed values of each problem.
    """
    if problems := find_problems(composed):
        raise ConfigError(problems)
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), composed))


def find_problems(composed: DictConfig) -> list[str]:
    """Return one message per problem of a composed configuration."""
    return list(_section_problems(composed, Config, "")) or [
        *_data_contradictions(composed.dataset),
        *_backbone_contradictions(composed),
        *_training_contradictions(composed),
        *_head_contradictions(composed.train, composed.backbone),
        *_hardware_contradictions(composed.hardware),
    ]


def expected_values(key: dataclasses.Field) -> str:
    """Return the allowed values of a schema field, as text."""
    if "expected" in key.metadata:
        return key.metadata["expected"]
    options = typing.get_args(key.type) or (key.type,)
    words = " or ".join(_TYPES[option] for option in options if option is not types.NoneType)
    if "range" in key.metadata:
        words += f" {key.metadata['range']}"
    return f"{words}, or null" if types.NoneType in options else words


def _section_problems(values: DictConfig, section: type, prefix: str) -> Iterator[str]:
    schema, typed = {each.name: each for each in fields(section)}, OmegaConf.structured(section)
    for name in (f"{prefix}{key}" for key in values if key not in schema):
        yield f"{name}: renamed to {RENAMED[name]}" if name in RENAMED else _unknown_key(name)
    for key, each in schema.items():
        name = prefix + key
        if key not in values:
            yield f"{name}: required key is missing; do not remove it from the configuration"
        elif inner := section_of(each):
            if isinstance(values[key], DictConfig):
                yield from _section_problems(values[key], inner, f"{name}.")
            elif any(each.name == "name" for each in fields(inner)):
                yield f"{name}: {values[key]!r} is not a section; use {name}=<a file in conf/{name}/> or {name}.<key>=<value>"
            else:
                yield f"{name}: {values[key]!r} is not a section; use {name}.<key>=<value>"
        elif not _is_valid(values, each, typed):
            yield f"{name}: invalid value {_shown(values, key)}; expected {expected_values(each)}"


def _is_valid(values: DictConfig, key: dataclasses.Field, typed: DictConfig) -> bool:
    """Return whether a value has the type of its key, tested by assignment to `typed`, and is within its limits."""
    try:
        typed[key.name] = values[key.name]
        value = typed[key.name]
    except OmegaConfBaseException:
        return False
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    return (value is None and key.type is not Any) or satisfies(value, key.metadata.get("schema", {}))


def _shown(values: DictConfig, key: str) -> str:
    try:
        return repr(values[key])
    except OmegaConfBaseException as error:
        return f"{OmegaConf.to_container(values)[key]!r} ({str(error).splitlines()[0]})"


# Combinations of values that are valid individually, but not together.


def _data_contradictions(dataset: DictConfig) -> Iterator[str]:
    source, name = dataset.source, dataset.name
    has_path = source in ("folder", "csv")
    if not has_path and dataset.path is not None:
        yield f"dataset.path: invalid value {dataset.path!r} with dataset={name}, which has its own images; use dataset=folder"
    if has_path and dataset.path is None:
        what = (
            "a folder of images, dataset.path=<folder>" if source == "folder" else "a CSV file, dataset.path=<file>.csv"
        )
        yield f"dataset.path: required with dataset={name}; set it to {what}"
    if source == "tfds" and not re.fullmatch(r"[\w/.-]+:\d+\.\d+\.\d+", dataset.tfds or ""):
        yield (
            f"dataset.tfds: invalid value {dataset.tfds!r} with dataset={name}; expected <name>:<version> of TensorFlow Datasets, such as "
            "tf_flowers:3.0.1"
        )
    if source != "tfds" and dataset.tfds is not None:
        yield f"dataset.tfds: invalid value {dataset.tfds!r} with dataset={name}; use dataset=tfds"
    if source == "digits" and dataset.test == "validation":
        yield f"dataset.test: invalid value 'validation' with dataset={name}, which has no validation split of its own; use auto"
    if dataset.images is not None and source != "csv":
        yield f"dataset.images: invalid value {dataset.images!r} with dataset={name}; it is for tables, use dataset=csv or null"
    elif dataset.images is not None and not re.fullmatch(r"[^*]*\*[^*]*|[^*]*\*\.\*", dataset.images):
        yield f"dataset.images: invalid value {dataset.images!r}; expected a path with one star for the id, such as images/*.jpg or images/*.*"
    splits = dataset.splits
    named = [key for key in ("validation", "test") if splits[key]]
    if (splits.train or named) and source != "folder":
        yield f"dataset.splits: is for folders, not for dataset={name}; use dataset=folder or remove it"
    elif named and splits.train in (None, "."):
        yield f"dataset.splits.train: invalid value {splits.train!r} with dataset.splits.{named[0]}; name the folder of the training split"
    if dataset.groups is not None and source != "csv":
        try:
            re.compile(dataset.groups)
        except re.error as error:
            yield f"dataset.groups: {dataset.groups!r} is not a regular expression ({error}); expected one on the images' paths, or null"


def _backbone_contradictions(cfg: DictConfig) -> Iterator[str]:
    backbone, least = cfg.backbone, cfg.backbone.min_image_size
    rounds = cfg.finetune.phases or []
    sizes = [("image_size", cfg.image_size), ("finetune.image_size", cfg.finetune.image_size)]
    for key, size in [*sizes, *(("finetune.image_size", each.get("image_size")) for each in rounds)]:
        if size and min(height_width(size)) < least:
            yield f"{key}: invalid value {size} with backbone={backbone.name}; expected at least {least} for each side"
    yield from _preset_contradictions(backbone)
    if backbone.constructor == "scratch_cnn" and backbone.weights == "imagenet":
        yield "backbone.weights: invalid value 'imagenet' with backbone=scratch_cnn, which is not pretrained; use random"
    elif backbone.weights not in WEIGHTS and not (
        backbone.weights.startswith(ADDRESSES) or resolve(backbone.weights).exists()
    ):
        yield (
            f"backbone.weights: the file {backbone.weights!r} does not exist; expected imagenet, random, the path of a Keras weights file "
            "or of a trained model, runs:/<id>, or models:/<name>@<alias>"
        )


def _preset_contradictions(backbone: DictConfig) -> Iterator[str]:
    preset = backbone.preset
    if backbone.constructor != HUB:
        if preset is not None:
            yield f"backbone.preset: invalid value {preset!r} with backbone={backbone.name}, which is not from KerasHub; use backbone=hub"
        if backbone.weights == "preset":
            yield f"backbone.weights: invalid value 'preset' with backbone={backbone.name}, which is not from KerasHub; use imagenet"
        if backbone.pooling != "average":
            yield f"backbone.pooling: invalid value {backbone.pooling!r} with backbone={backbone.name}, which has no tokens; use average"
        return
    if preset is None:
        yield f"backbone.preset: required with backbone={backbone.name}; set it to a preset of KerasHub, or to the folder of one, such as ./vit"
    elif "/" in preset and not resolve(preset).is_dir():
        yield f"backbone.preset: the folder {preset!r} does not exist; expected a folder, or the name of a preset of KerasHub"
    if backbone.weights == "imagenet":
        yield f"backbone.weights: invalid value 'imagenet' with backbone={backbone.name}; use preset, whose weights these are"


def _training_contradictions(cfg: DictConfig) -> Iterator[str]:
    finetune = cfg.finetune
    for section, epochs in (
        ("train", cfg.train.epochs),
        ("finetune", min([round_.get("epochs", finetune.epochs) for round_ in finetune.phases or [{}]])),
    ):
        settings = cfg[section]
        if settings.warmup_steps is None and settings.schedule != "one_cycle" and settings.warmup_epochs > epochs:
            limit = "the epochs of a round, " if section == "finetune" and finetune.phases else f"{section}.epochs="
            yield f"{section}.warmup_epochs: {settings.warmup_epochs} is more than {limit}{epochs}"
    if (cfg.augment.mixup or cfg.augment.cutmix) and finetune.batch_size < 2:
        yield (
            f"finetune.batch_size: invalid value {finetune.batch_size} with augment.mixup or augment.cutmix, which mix the images of a batch; "
            "expected at least 2"
        )
    if "flip" in cfg.evaluate.tta and not cfg.dataset.mirror:
        yield (
            f"evaluate.tta: invalid value {cfg.evaluate.tta!r} with dataset.mirror=false, since mirrored images belong to another class; "
            "use crops or none"
        )
    if cfg.find_lr.low >= cfg.find_lr.high:
        yield f"find_lr.low: {cfg.find_lr.low} is not below find_lr.high={cfg.find_lr.high}"
    if cfg.tracking.uri and urlsplit(cfg.tracking.uri).password:
        yield (
            "tracking.uri: contains a password, which would be written into files; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD instead"
        )


def _head_contradictions(train: DictConfig, backbone: DictConfig) -> Iterator[str]:
    if train.head == "softmax":
        return
    if backbone.constructor == "scratch_cnn":
        yield f"train.head: invalid value {train.head!r} with backbone={backbone.name}, which is trained too; use softmax"
    if train.hidden_units:
        yield f"train.hidden_units: invalid value {train.hidden_units} with train.head={train.head}, which fits one layer; use 0, or head=softmax"
    if train.balanced_sampling:
        yield f"train.balanced_sampling: invalid value true with train.head={train.head}, which has no epochs; use train.class_weight=balanced"


def _hardware_contradictions(hardware: DictConfig) -> Iterator[str]:
    several = hardware.strategy in ("mirrored", "multi_worker")
    if hardware.jit_compile and several and hardware.precision == "mixed_float16":
        yield (
            f"hardware.jit_compile: invalid value true with hardware.strategy={hardware.strategy} and hardware.precision=mixed_float16, "
            "whose loss scaling XLA can't compile for several devices; use jit_compile=false, or another precision"
        )
