"""What makes two experiments the same one: configuration, data and code."""

import hashlib
import json
from dataclasses import asdict

from pipeline.config import NOT_PART_OF_EXPERIMENT, Config
from pipeline.data.sources import listing_digest
from pipeline.storage.files import file_sha256
from pipeline.system.paths import CODE, LOCKS, resolve


def watched(config: Config) -> dict[str, str | None]:
    """Digests of what lies outside this repository: the images' listing, and a weights file where one is given."""
    weights = config.backbone.weights
    own = weights in ("imagenet", "random")
    return {"images": listing_digest(config.dataset), "weights": None if own else file_sha256(resolve(weights))}


def experiment_key(config: Config, outside: dict[str, str | None] | None = None) -> str:
    """The first 16 hexadecimal digits of the sha256 over configuration, data (`watched`, now or at an earlier time) and code."""
    # Where things are kept, and what is done with a result, makes no other experiment.
    settings = {name: value for name, value in asdict(config).items() if name not in NOT_PART_OF_EXPERIMENT}
    parts = {"config": settings, "data": outside or watched(config), "code": code_digest()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def code_digest() -> str:
    """sha256 over this package's modules and page templates, and the locks of its dependencies."""
    digest = hashlib.sha256()
    package = CODE / "pipeline"
    for file in [*sorted(package.rglob("*.py")), *sorted(package.rglob("*.html")), *LOCKS]:
        digest.update(f"{file.relative_to(CODE).as_posix()}\0".encode())
        digest.update(file_sha256(file).encode() if file.exists() else b"")
    return digest.hexdigest()
