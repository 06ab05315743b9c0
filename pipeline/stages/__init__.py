"""Code of each stage, and the declarations of the stages in dvc.yaml."""

import functools
from dataclasses import dataclass

import yaml

from pipeline.system.paths import CODE

STAGES = ("prepare", "train", "finetune", "evaluate", "report")
"""All stages, in the order in which they run."""
COMPUTING = STAGES[:-1]
"""Stages that compute results; `report` only presents them."""


@dataclass(frozen=True)
class Declaration:
    """A stage's entry in dvc.yaml."""

    code: tuple[str, ...]
    """Files and folders of this package that the stage depends on, relative to the checkout."""
    inputs: tuple[str, ...]
    """Files of earlier stages, relative to the folder of outputs, such as train/model.keras."""
    digests: tuple[str, ...]
    """Names of the digests that it depends on, of inputs outside the checkout: images, weights."""
    others: tuple[str, ...]
    """Further dependencies, relative to the checkout, such as lock files."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the earlier stages whose outputs this stage reads."""
        return tuple(stage for stage in STAGES if any(path.startswith(f"{stage}/") for path in self.inputs))


@functools.cache
def declaration(stage: str) -> Declaration:
    """Read a stage's declaration from dvc.yaml."""
    deps = yaml.safe_load((CODE / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["deps"]
    outputs = [each.removeprefix("outputs/") for each in deps if each.startswith("outputs/")]
    return Declaration(
        code=tuple(each for each in deps if each.startswith("pipeline/")),
        inputs=tuple(each for each in outputs if each.split("/")[0] not in ("settings", "watch")),
        digests=tuple(each.split("/")[1].removesuffix(".json") for each in outputs if each.startswith("watch/")),
        others=tuple(each for each in deps if not each.startswith(("pipeline/", "outputs/"))),
    )
