"""Tags of runs that this package needs, under the prefix `pipeline.`; those for people have no prefix.

Older runs have the same tags without the prefix, and `<stage>.computed_by` instead of `pipeline.stages`.
"""

import json
from collections.abc import Mapping

PREFIX = "pipeline."
PROCESS = f"{PREFIX}process"
"""Identity of the process that works on the run; see `pipeline.system.processes.own`."""
FOLDER = f"{PREFIX}folder"
"""Folder of the job."""
ENDED_BY = f"{PREFIX}ended_by"
"""Reason for which another process ended the run."""
STAGES = f"{PREFIX}stages"
"""Run that computed the result of each stage, as JSON."""
CODE_SHA256 = f"{PREFIX}code_sha256"
"""Digest of the code."""
LOCK_SHA256 = f"{PREFIX}lock_sha256"
"""Digest of requirements.lock."""
SWEEP_KEY = f"{PREFIX}sweep_key"
"""Digest of the sweep's name."""

BEGUN = "begun"
"""Value for a stage that has not finished."""
_COMPUTED_BY = ".computed_by"


def internal(tags: Mapping[str, str], name: str) -> str:
    """Return the value of one of this package's tags, also from an older run; empty if there is none."""
    return tags.get(name) or tags.get(name.removeprefix(PREFIX), "")


def computed_by(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the id of the run that computed each stage, by stage; `BEGUN` for a stage that has not finished."""
    older = {name.removesuffix(_COMPUTED_BY): run for name, run in tags.items() if name.endswith(_COMPUTED_BY)}
    return older | json.loads(tags.get(STAGES, "{}"))


def with_stage(tags: Mapping[str, str], stage: str, run_id: str) -> dict[str, str]:
    """Return the tag to set when a stage begins (`BEGUN`) or has finished."""
    return {STAGES: json.dumps(computed_by(tags) | {stage: run_id})}
