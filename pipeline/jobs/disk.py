"""Disk space that a job needs in the cache for decoded images and features."""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.config.image import Decoding
from pipeline.config.size import Size
from pipeline.jobs.work import Counts
from pipeline.storage.cache import GIB
from pipeline.storage.entries import Entry
from pipeline.storage.files import Json
from pipeline.storage.shards import rows_bytes

Needs = dict[tuple, int | None]
"""Size in bytes of each entry that the cache lacks, by a name that is the same for all jobs; None if it is unknown."""

_TRAINING, _TEST = ("train", "validation"), ("test",)


@dataclass(frozen=True)
class Prepared:
    """Prepared data set of a job, as far as it is known before the job starts."""

    key: str
    """Key of stage prepare."""
    counts: Counts | None
    folder: Path | None
    """Folder of the manifest; None if stage prepare has no result yet."""

    def rows(self, splits: tuple[str, ...], variants: int) -> int | None:
        """Return the number of images of some splits, with `variants` more of each training image."""
        if self.counts is None:
            return None
        return sum(self.counts[split] * (1 + variants * (split == "train")) for split in splits)


def cache_needs(config: Config, prepared: Prepared, computed: set[str], entries: list[Entry]) -> Needs:
    """Return the sizes of the decoded images and features that the cache lacks.

    Args:
        config: Configuration of the job.
        prepared: Its data set.
        computed: Stages that the job computes.
        entries: Entries of the cache.
    """
    needs: Needs = {}
    if computed & {"train", "finetune", "evaluate"}:
        rounds = [each.get("image_size") for each in config.finetune.phases or []]
        other = [config.finetune.image_size, *rounds] if "finetune" in computed else []
        for size in filter(None, [config.image_size, *other]):
            needs |= _needs(config, prepared, _TRAINING, size, entries)
    if "evaluate" in computed:
        needs |= _needs(config, prepared, _TEST, config.image_size, entries)
    return needs


def _needs(config: Config, prepared: Prepared, splits: tuple[str, ...], size: Size, entries: list[Entry]) -> Needs:
    decoding, needs = Decoding.of(size, config.image), Needs()
    name = (prepared.key, splits, repr(decoding))
    wanted = _wanted(prepared, splits, decoding)
    present = [each.holds for each in entries if wanted and wanted.items() <= each.holds.items()]
    if not any(each["kind"] == "images" for each in present):
        decoded = _product(prepared.rows(splits, 0), rows_bytes(1, decoding.shape, "uint8"))
        needs["images", *name] = _within(decoded, config.hardware.image_cache_gib)
    backbone = config.backbone.network
    # A network that is trained from scratch has no frozen part.
    if backbone != "scratch_cnn" and not any(each.get("backbone") == backbone for each in present):
        variants = min(config.augment.views, max(config.train.epochs, config.finetune.epochs) - 1)
        features = _product(prepared.rows(splits, variants), _feature_bytes(backbone, size, entries))
        how = (backbone, config.backbone.weights, config.hardware.precision, config.augment.name)
        needs["features", *name, *how] = _within(features, config.hardware.feature_cache_gib)
    return needs


def _product(rows: int | None, size: int | None) -> int | None:
    return None if rows is None or size is None else rows * size


def _within(size: int | None, gib: float) -> int | None:
    """Return a size in bytes, or 0 if it is above the limit, since nothing is cached then."""
    return 0 if size is not None and size > gib * GIB else size


def _feature_bytes(backbone: str, size: Size, entries: list[Entry]) -> int | None:
    """Return the bytes per image of the features of a backbone in the cache; None if there are none.

    A training writes features at two places of the backbone, so these are the two largest kinds of them.
    """
    kinds = {
        (each.holds["shape"], each.holds["dtype"])
        for each in entries
        if each.holds.get("backbone") == backbone and each.holds.get("image_size") == size and "shape" in each.holds
    }
    sizes = sorted(rows_bytes(1, tuple(map(int, shape.split("x"))), dtype) for shape, dtype in kinds)
    return sum(sizes[-2:]) if sizes else None


def _wanted(prepared: Prepared, splits: tuple[str, ...], decoding: Decoding) -> Json | None:
    """Return by what the cache knows the images of some splits, whatever decoded them; None without a manifest."""
    if prepared.folder is None:
        return None
    # Planning without a manifest needs no table.
    from pipeline.inputs.images import decoded_depends

    depends = decoded_depends(_sha256(prepared.folder, prepared.key, splits), decoding)
    return {name: value for name, value in depends.items() if name not in ("depth", "decoder")}


@functools.cache
def _sha256(folder: Path, _key: str, splits: tuple[str, ...]) -> list[str]:
    """Return the sha256 of each image of some splits of a manifest."""
    from pipeline.inputs.manifest import read_manifest

    return read_manifest(folder).split(*splits)["sha256"].tolist()


def free_space(cache: Path) -> int:
    """Return the free bytes on the disk of the cache folder, which may not exist yet."""
    return shutil.disk_usage(next(each for each in (cache, *cache.parents) if each.exists())).free
