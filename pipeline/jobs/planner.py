"""Plan jobs by the results in their folders and in the cache, without writing anything."""

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from pipeline.config import Config, DatasetConfig
from pipeline.data.sources import count_images
from pipeline.jobs.disk import Prepared, cache_needs, free_space
from pipeline.jobs.identity import Digests, experiment_key, outside_digests
from pipeline.jobs.job import JobStatus, read_outcome
from pipeline.jobs.plan import Action, Found, Plan, PlannedJob, Step, estimated, plan_stages
from pipeline.jobs.results import RUN, SharedResults, read_result, resume_folder
from pipeline.jobs.work import Counts, Earlier, earlier_results, read_counts
from pipeline.stages import STAGES
from pipeline.storage.cache import Cache
from pipeline.storage.entries import Entry
from pipeline.system.paths import resolve


class Planner:
    """Planner of the jobs of one command, which take results from each other."""

    def __init__(self, last: str | None, *, sweep: bool, remember: bool):
        """Create a planner without jobs.

        Args:
            last: Last stage to run; None: all stages.
            sweep: Whether complete jobs are skipped.
            remember: Whether to write the digests of images to the cache.
        """
        self._stages = STAGES if last is None else STAGES[: STAGES.index(last) + 1]
        self._last, self._sweep, self._remember = last, sweep, remember
        self._computed: dict[str, str] = {}
        self._claimed: set[tuple] = set()
        self._outside: dict[str, Digests] = {}
        self._counts: dict[str, Counts | None] = {}
        self._results: dict[Path, list[Earlier]] = {}
        self._listing: list[Entry] | None = None
        self._jobs: list[PlannedJob] = []
        self._cache = resolve("cache")

    def add(self, label: str, config: Config, folder_of: Callable[[str], Path]) -> None:
        """Plan the next job.

        Args:
            label: Settings by which the job differs from the others.
            config: Its configuration.
            folder_of: Function that returns the job's folder for the key of its experiment.

        Raises:
            PipelineError: The images or weights can't be found.
        """
        self._cache = resolve(config.cache_folder)
        digests = self._digests(config)
        key = experiment_key(config, digests)
        folder = folder_of(key)
        find = functools.partial(_find, folder, SharedResults(self._cache))
        steps = plan_stages(self._stages, config, digests, find=find, computed=self._computed)
        complete = all(step.action == Action.PRESENT for step in steps)
        before = read_outcome(folder, key)
        status = before.status if before else None
        if before and self._sweep and not complete and status == JobStatus.FAILED and not config.sweep.retry_failed:
            self.add_invalid(label, f"failed before: {before.reason}")
            return
        if not self._sweep and status != JobStatus.BEGUN:
            steps = self._repeated(steps)
        self._jobs.append(self._with_estimates(label, steps, config, folder))

    def add_invalid(self, label: str, problem: str) -> None:
        """Add a job that can't run."""
        self._jobs.append(PlannedJob(label, problem=problem))

    def plan(self, workers: int | None = 1) -> Plan:
        """Return the plan of all jobs, of which `workers` run at the same time (None: unknown)."""
        return Plan(self._jobs, free_space(self._cache), workers)

    def _repeated(self, steps: list[Step]) -> list[Step]:
        """Return the steps of a single job, which computes results that exist already if all of them do."""
        named = self._stages[-1:] if self._last else self._stages
        if any(step.action != Action.PRESENT for step in steps if step.stage in named):
            return steps
        return [replace(step, action=Action.COMPUTE) if step.stage in named else step for step in steps]

    def _with_estimates(self, label: str, steps: list[Step], config: Config, folder: Path) -> PlannedJob:
        prepare = steps[0]
        places = [folder / "prepare", SharedResults(self._cache).folder("prepare", prepare.key)]
        place = next((each for each in places if read_result(each, prepare.key)), None)
        counts = read_counts(place) if place else self._count(config.dataset)
        steps = estimated(steps, config, counts, self._earlier(folder.parent))
        steps = [_resumed(step, self._cache) for step in steps]
        keys = [step.key for step in steps if step.computes]
        self._computed |= dict.fromkeys(keys, f"job {len(self._jobs) + 1}")
        computed = {step.stage for step in steps if step.computes}
        needs = cache_needs(config, Prepared(prepare.key, counts, place), computed, self._entries())
        own = {item: size for item, size in needs.items() if item not in self._claimed}
        self._claimed |= own.keys()
        return PlannedJob(label, tuple(steps), own)

    def _earlier(self, jobs: Path) -> list[Earlier]:
        """Return all results in the cache, and in the folders of other jobs beside a job's folder."""
        if jobs not in self._results:
            places = [*self._cache.glob("stages/*"), *(file.parent for file in jobs.glob(f"*/*/{RUN}"))]
            self._results[jobs] = earlier_results(places)
        return self._results[jobs]

    def _entries(self) -> list[Entry]:
        if self._listing is None:
            self._listing = Cache(self._cache).listing()
        return self._listing

    def _digests(self, config: Config) -> Digests:
        # The images are the same for most jobs of a sweep, and their files are many.
        inputs = json.dumps([asdict(config.dataset), config.backbone.weights, config.cache_folder])
        if inputs not in self._outside:
            self._outside[inputs] = outside_digests(config, remember=self._remember)
        return self._outside[inputs]

    def _count(self, dataset: DatasetConfig) -> Counts | None:
        inputs = json.dumps(asdict(dataset))
        if inputs not in self._counts:
            self._counts[inputs] = count_images(dataset)
        return self._counts[inputs]


def _find(folder: Path, shared: SharedResults, stage: str, key: str) -> Found | None:
    """Find the result of a stage in the job's folder, or else in the cache."""
    for place, own in ((folder / stage, True), (shared.folder(stage, key), False)):
        if state := read_result(place, key):
            return Found(state, own)
    return None


def _resumed(step: Step, cache: Path) -> Step:
    if step.action == Action.COMPUTE and any(resume_folder(cache, step.stage, step.key).glob("*.npz")):
        return replace(step, action=Action.RESUME)
    return step
