"""Plan of jobs: what each stage will compute or take from elsewhere, known without running anything."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pipeline.config import Config
from pipeline.jobs.disk import Needs
from pipeline.jobs.identity import Digests, key_of_stage
from pipeline.jobs.work import Counts, Earlier, estimated_seconds, most_alike, work_of
from pipeline.stages import declaration
from pipeline.storage.files import Json


class Action(StrEnum):
    """Action of a job for one stage."""

    COMPUTE = "compute"
    RESUME = "resume"
    """Compute from the last completed epoch on."""
    TAKE = "take"
    """Copy the result of another job."""
    PRESENT = "present"
    """The result is in the job's folder."""


@dataclass(frozen=True)
class Found:
    """Result of a stage that exists."""

    state: Json
    """Content of its run.json."""
    own: bool
    """Whether it is in the job's own folder."""


Find = Callable[[str, str], Found | None]
"""Function that finds the result of a stage with a key."""


@dataclass(frozen=True)
class Step:
    """Plan of one stage of a job."""

    stage: str
    key: str
    """Key of the result. If its inputs are not computed yet, it is the same for equal results, and no other."""
    action: Action
    source: str = ""
    """Origin of a result that is taken: "job <number>", or the first characters of an experiment's key."""
    work: Json = field(default_factory=dict)
    seconds: float | None = 0.0
    """Estimated duration; None if it is unknown."""
    size: int | None = 0
    """Bytes that the result needs on disk; None if this is unknown."""

    @property
    def computes(self) -> bool:
        """Return whether the stage is computed."""
        return self.action in (Action.COMPUTE, Action.RESUME)


@dataclass(frozen=True)
class PlannedJob:
    """Plan of a job."""

    label: str
    """Settings by which the job differs from the others."""
    steps: tuple[Step, ...] = ()
    needs: Needs = field(default_factory=dict)
    """Entries that the job adds to the cache."""
    problem: str = ""
    """Reason why the job will not run."""

    @property
    def complete(self) -> bool:
        """Return whether all results are in the job's folder."""
        return bool(self.steps) and all(step.action == Action.PRESENT for step in self.steps)

    @property
    def seconds(self) -> list[float | None]:
        """Return the estimated duration of each stage."""
        return [step.seconds for step in self.steps]

    @property
    def sizes(self) -> list[int | None]:
        """Return the bytes of each result and cache entry that the job writes."""
        return [*(step.size for step in self.steps), *self.needs.values()]


@dataclass(frozen=True)
class Plan:
    """Plan of all jobs of a command."""

    jobs: list[PlannedJob]
    free: int
    """Free bytes on the disk of the cache."""
    workers: int | None = 1
    """Number of jobs that run at the same time; None if it is unknown."""

    def work_from(self, number: int) -> list[tuple[Json, int]]:
        """Return the different works that jobs `number` (from 1) and later compute, and how often each is needed."""
        computed = (step.work for job in self.jobs[number - 1 :] for step in job.steps if step.computes)
        counts = Counter(json.dumps(work) for work in computed)
        return [(json.loads(work), count) for work, count in counts.items()]


def plan_stages(
    stages: Sequence[str], config: Config, digests: Digests, *, find: Find, computed: dict[str, str]
) -> list[Step]:
    """Plan the stages of a job in order, without estimates.

    The key of a stage depends on the content of earlier results. Where such a result does not exist yet, its own key
    replaces its content, so that jobs with the same settings still get the same keys.

    Args:
        stages: Stages in order.
        config: Configuration of the job.
        digests: Digests of the inputs outside the checkout.
        find: Function that finds existing results.
        computed: Name of the job that computes a result, by the result's key, from earlier calls.
    """
    contents: dict[str, str] = {}
    steps: dict[str, Step] = {}
    for stage in stages:
        declared = declaration(stage).inputs
        inputs = {name: contents.get(name) or f"{steps[name.split('/')[0]].key}/{name}" for name in declared}
        key = key_of_stage(stage, config, inputs, digests)
        found = find(stage, key) if contents.keys() >= set(declared) else None
        if found is not None:
            contents |= {f"{stage}/{name}": file["sha256"] for name, file in found.state["files"].items()}
            origin = str(found.state.get("experiment", found.state.get("run_id", "")))[:6]
            size = sum(file["bytes"] for file in found.state["files"].values())
            taken = Step(stage, key, Action.TAKE, origin, size=size)
            steps[stage] = Step(stage, key, Action.PRESENT) if found.own else taken
        elif key in computed:
            steps[stage] = Step(stage, key, Action.TAKE, computed[key])
        else:
            steps[stage] = Step(stage, key, Action.COMPUTE)
    return list(steps.values())


def estimated(steps: Iterable[Step], config: Config, counts: Counts | None, earlier: list[Earlier]) -> list[Step]:
    """Add the work, the duration and the disk space of steps, from the results that are most alike."""
    complete = []
    for step in steps:
        work = work_of(step.stage, config, counts)
        alike = most_alike(work, earlier)
        if step.computes:
            # One copy is in the job's folder, and one in the cache.
            size = 2 * alike.size if alike else None
            step = replace(step, work=work, seconds=estimated_seconds(work, earlier), size=size)
        elif step.action == Action.TAKE and not step.size:
            step = replace(step, work=work, size=alike.size if alike else None)
        complete.append(replace(step, work=work))
    return complete
