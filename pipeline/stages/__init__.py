"""The body of each DVC stage, and the stages as dvc.yaml declares them: order, code, inputs and outputs."""

import functools
from dataclasses import dataclass

import yaml

from pipeline.config import PHASES
from pipeline.system.paths import CODE

STAGES = ("prepare", "train", "finetune", "evaluate", "report")
"""In the order in which they run."""
COMPUTING = STAGES[:-1]
"""The stages that make numbers; `report` draws and logs them."""
TRAININGS = PHASES
"""The stages that resume after their last completed epoch."""


@dataclass(frozen=True)
class Declaration:
    """A stage's entry in dvc.yaml."""

    code: tuple[str, ...]
    """Files and folders of this package, relative to the checkout."""
    inputs: tuple[str, ...]
    """Files of earlier stages, relative to the folder of outputs, such as train/model.keras."""
    digests: tuple[str, ...]
    """What it reads from outside the checkout, as stage watch names it: images, weights."""
    others: tuple[str, ...]
    """Further dependencies, relative to the checkout: the locks, and whatever somebody added."""
    outputs: tuple[str, ...]
    """Files and folders that it writes, relative to the folder of outputs."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The earlier stages that it reads from."""
        named = {path.split("/")[0] for path in self.inputs}
        return tuple(stage for stage in STAGES if stage in named)


@functools.cache
def declaration(stage: str) -> Declaration:
    """What dvc.yaml declares of a stage."""
    entry = yaml.safe_load((CODE / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    deps = [_path(each) for each in entry["deps"]]
    made = [each.removeprefix("outputs/") for each in deps if each.startswith("outputs/")]
    return Declaration(
        code=tuple(each for each in deps if each.startswith("pipeline/")),
        inputs=tuple(each for each in made if each.split("/")[0] not in ("settings", "watch")),
        digests=tuple(each.split("/")[1].removesuffix(".json") for each in made if each.startswith("watch/")),
        others=tuple(each for each in deps if not each.startswith(("pipeline/", "outputs/"))),
        outputs=tuple(
            _path(each).removeprefix("outputs/")
            for kind in ("outs", "metrics", "plots")
            for each in entry.get(kind, ())
        ),
    )


def _path(entry: str | dict) -> str:
    """The path of an entry, which may be a mapping from the path to DVC's options."""
    return entry if isinstance(entry, str) else next(iter(entry))
