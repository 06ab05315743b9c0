"""Files with a backbone's initial weights, which may be a trained model in MLflow or in a job's folder, or a preset."""

import re
from dataclasses import replace
from pathlib import Path

from pipeline.config import ADDRESSES, Config, TrackingConfig
from pipeline.storage.digests import file_digests
from pipeline.storage.files import text_sha256
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve
from pipeline.tracking.classifier_files import ModelReference, find_classifier, run_of

_ALIAS = re.compile(r"models:/(?P<name>[^/@,'\"]+)@(?P<alias>[^/@,'\"\]]+)")
# Models in the store by their address and the store. An address without an alias always means the same model.
_found: dict[tuple[str, str | None], ModelReference] = {}


def weights_source(config: Config) -> ModelReference | None:
    """Return the file that `backbone.weights` names, with the run that logged it; None if it names no file.

    Raises:
        PipelineError: There is no such model, or the store can't be used.
    """
    weights, tracking = config.backbone.weights, config.tracking
    if not config.backbone.has_weights_file:
        return None
    try:
        if weights.startswith(ADDRESSES):
            address = without_aliases(weights, tracking)
            key = (address, tracking.uri)
            if key not in _found:
                _found[key] = find_classifier(address, tracking)
            return _found[key]
        path = resolve(weights)
        if path.is_file() and path.suffix != ".keras":
            return ModelReference(path, str(path))
        found = find_classifier(str(path), tracking)
    except PipelineError as error:
        raise PipelineError(f"backbone.weights: {error}") from error
    if not found.file.is_file():
        raise PipelineError(f"backbone.weights: {found.file} does not exist; run that job again, or name another model")
    return found


def with_weights_file(config: Config) -> Config:
    """Return a configuration that names the file of its initial weights by path, for code that uses no store."""
    source = weights_source(config)
    return replace(config, backbone=replace(config.backbone, weights=str(source.file))) if source else config


def weights_digest(config: Config, *, remember: bool = True) -> str | None:
    """Return the sha256 of the file that `backbone.weights` names, and of the folder that `backbone.preset` names.

    Args:
        config: Complete configuration.
        remember: Whether to write the digest to the cache.

    Returns:
        One sha256 of both; None if there are neither.
    """
    source, cache, digests = weights_source(config), resolve(config.cache_folder), []
    if source:
        # The store may have downloaded the file to a temporary folder.
        keep = remember and not config.backbone.weights.startswith(ADDRESSES)
        digests += file_digests(source.file.parent, [source.file.name], cache, remember=keep)
    if config.backbone.has_preset_folder:
        folder = resolve(str(config.backbone.preset))
        names = preset_files(folder)
        found = file_digests(folder, names, cache, remember=remember)
        digests.append(text_sha256("".join(f"{name} {digest}\n" for name, digest in zip(names, found, strict=True))))
    return text_sha256(" ".join(digests)) if len(digests) > 1 else next(iter(digests), None)


def preset_files(folder: Path) -> list[str]:
    """Return the paths of the files in a preset's folder, relative to it, without hidden ones."""
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]


def weights_tags(config: Config) -> dict[str, str]:
    """Return tags with the origin of a run's initial weights; none if they come from no file or folder."""
    source = weights_source(config)
    if source is None and not config.backbone.has_preset_folder:
        return {}
    origin = source.origin if source else str(resolve(str(config.backbone.preset)))
    tags = {"weights": origin, "weights_run": source and run_of(source), "weights_sha256": weights_digest(config)}
    return {name: value for name, value in tags.items() if value}


def without_aliases(text: str, tracking: TrackingConfig) -> str:
    """Replace each `models:/<name>@<alias>` in a text with `models:/<name>/<version>`, since aliases may move.

    Raises:
        PipelineError: The store can't be used, or has no such model or alias.
    """
    if not _ALIAS.search(text):
        return text
    # MLflow takes seconds to import.
    from pipeline.tracking.store import version_of

    return _ALIAS.sub(lambda it: f"models:/{it['name']}/{version_of(tracking, it['name'], it['alias'])}", text)
