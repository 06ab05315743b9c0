"""Check a composed configuration in one go, before any work: every problem in one message."""

import difflib
import re
import types
import typing
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from urllib.parse import urlsplit

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import Config
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve


def known_keys(section: type = Config, prefix: str = "") -> list[str]:
    """Every key of the schema, dotted: sections as well as their leaves."""
    keys = []
    for each in fields(section):
        keys.append(prefix + each.name)
        if is_dataclass(each.type):
            keys += known_keys(each.type, f"{prefix}{each.name}.")
    return keys


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """A sentence on a name that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.4)
    return f"{given}: there is no such {what}" + (f"; did you mean {near[0]}?" if near else "")


def check(composed: DictConfig) -> Config:
    """The typed form of a composed configuration.

    Raises:
        PipelineError: with every problem at once, each with its key, what was given and what is allowed.
    """
    problems = find_problems(composed)
    if problems:
        raise invalid(problems)
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), composed))


def invalid(problems: Iterable[str]) -> PipelineError:
    """The error that lists `problems`, each once, a line each."""
    return PipelineError(
        "The configuration can't be used:\n" + "\n".join(f"  - {each}" for each in dict.fromkeys(problems))
    )


def find_problems(composed: DictConfig) -> list[str]:
    """All that is wrong with a composed configuration, a sentence each."""
    problems = _section_problems(composed, Config, "")
    return problems or _contradictions(composed)


def _section_problems(given: DictConfig, section: type, prefix: str) -> list[str]:
    problems = []
    schema = {each.name: each for each in fields(section)}
    typed = OmegaConf.structured(section)
    for key in given:
        if key not in schema:
            problems.append(unknown("key", f"{prefix}{key}", known_keys()))
    for key, each in schema.items():
        name = prefix + key
        if key not in given:
            problems.append(f"{name}: is missing; it stands in conf/ and can't be removed")
            continue
        try:
            value = given[key]
            if is_dataclass(each.type):
                if isinstance(value, DictConfig):
                    problems += _section_problems(value, each.type, f"{name}.")
                else:
                    problems.append(
                        f"{name}: {value!r} is not a section; allowed is {name}=<a file in conf/{name}/> or {name}.<key>=<value>"
                    )
                continue
            typed[key] = value
        except OmegaConfBaseException:
            problems.append(f"{name}: {_shown(given, key)} is not allowed; it takes {_words(each)}")
            continue
        holds = each.metadata.get("holds")
        if holds and typed[key] is not None and not holds(typed[key]):
            problems.append(f"{name}: {_shown(given, key)} is not allowed; it takes {_words(each)}")
    return problems


def _shown(given: DictConfig, key: str) -> str:
    try:
        return repr(given[key])
    except OmegaConfBaseException as error:
        return f"{OmegaConf.to_container(given)[key]!r} ({str(error).splitlines()[0]})"


def _words(each) -> str:
    if "choices" in each.metadata:
        return each.metadata["choices"]
    plain = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", types.NoneType: "null"}
    options = typing.get_args(each.type) or (each.type,)
    kinds = " or ".join(plain[option] for option in options)
    return f"{kinds}, {each.metadata['allowed']}" if "allowed" in each.metadata else kinds


def _contradictions(cfg: DictConfig) -> list[str]:
    """Values that are each allowed and don't go together."""
    problems = _data_contradictions(cfg.dataset)
    if cfg.image_size < cfg.backbone.min_image_size:
        problems.append(
            f"image_size: {cfg.image_size} is not allowed with backbone={cfg.backbone.name}, which takes at least {cfg.backbone.min_image_size}"
        )
    problems += _training_contradictions(cfg)
    weights = cfg.backbone.weights
    if cfg.backbone.constructor == "scratch_cnn" and weights == "imagenet":
        problems.append(
            "backbone.weights: 'imagenet' is not allowed with backbone=scratch_cnn, which nobody has pretrained; say random"
        )
    elif weights not in ("imagenet", "random") and not resolve(weights).is_file():
        problems.append(
            f"backbone.weights: there is no file {weights!r}; allowed are imagenet, random, and the path of a Keras weights file"
        )
    if cfg.tracking.uri and urlsplit(cfg.tracking.uri).password:
        problems.append(
            "tracking.uri: holds a password, which would be written into files; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )
    return problems


def _training_contradictions(cfg: DictConfig) -> list[str]:
    problems, finetune = [], cfg.finetune
    for section, epochs in (
        ("train", cfg.train.epochs),
        ("finetune", min([phase.get("epochs", finetune.epochs) for phase in finetune.phases or [{}]])),
    ):
        settings = cfg[section]
        if settings.warmup_steps is None and settings.schedule != "one_cycle" and settings.warmup_epochs > epochs:
            of = "the epochs of a phase, " if section == "finetune" and finetune.phases else f"{section}.epochs="
            problems.append(f"{section}.warmup_epochs: {settings.warmup_epochs} is more than {of}{epochs}")
    sizes = [finetune.image_size, *(phase.get("image_size") for phase in finetune.phases or [])]
    for size in filter(None, sizes):
        if size < cfg.backbone.min_image_size:
            problems.append(
                f"finetune.image_size: {size} is not allowed with backbone={cfg.backbone.name}, which takes at least {cfg.backbone.min_image_size}"
            )
    if (cfg.augment.mixup or cfg.augment.cutmix) and finetune.batch_size < 2:
        problems.append(
            f"finetune.batch_size: {finetune.batch_size} is not allowed with augment.mixup or cutmix, which mix the images of a batch; say 2 at least"
        )
    if "flip" in cfg.evaluate.tta and not cfg.dataset.mirror:
        problems.append(
            f"evaluate.tta: {cfg.evaluate.tta!r} is not allowed with dataset.mirror=false, which says that a mirrored image is of another class; say crops"
        )
    if cfg.find_lr.low >= cfg.find_lr.high:
        problems.append(f"find_lr.low: {cfg.find_lr.low} is not below find_lr.high={cfg.find_lr.high}")
    return problems


def _data_contradictions(dataset: DictConfig) -> list[str]:
    problems = []
    source, name = dataset.source, dataset.name
    given = source in ("folder", "csv")
    if not given and dataset.path is not None:
        problems.append(
            f"dataset.path: {dataset.path!r} is not allowed with dataset={name}, which brings its own images; say dataset=folder"
        )
    if given and dataset.path is None:
        what = (
            "the folder of your images, dataset.path=<folder>"
            if source == "folder"
            else "your table, dataset.path=<file>.csv"
        )
        problems.append(f"dataset.path: null is not allowed with dataset={name}; give {what}")
    if source == "tfds" and not re.fullmatch(r"[\w/.-]+:\d+\.\d+\.\d+", dataset.tfds or ""):
        problems.append(
            f"dataset.tfds: {dataset.tfds!r} is not allowed with dataset={name}; it takes <name>:<version> of TensorFlow Datasets, such as tf_flowers:3.0.1"
        )
    if source != "tfds" and dataset.tfds is not None:
        problems.append(f"dataset.tfds: {dataset.tfds!r} is not allowed with dataset={name}; say dataset=tfds")
    if source == "digits" and dataset.test == "validation":
        problems.append(
            f"dataset.test: 'validation' is not allowed with dataset={name}, which has no validation split of its own; leave it at auto"
        )
    if dataset.groups is not None and source != "csv":
        try:
            re.compile(dataset.groups)
        except re.error as error:
            problems.append(
                f"dataset.groups: {dataset.groups!r} is no regular expression ({error}); it takes one, on the images' paths, or null"
            )
    return problems
