"""Search with Optuna, which chooses jobs by the results of earlier ones."""

import json
import logging
import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from sklearn.model_selection import ParameterGrid

from pipeline.config.texts import quote_literally, quoted
from pipeline.jobs.job import OBJECTIVES, JobResult, JobStatus
from pipeline.storage.database import sqlite_address
from pipeline.sweeps.labels import label
from pipeline.sweeps.optuna_report import log_search
from pipeline.sweeps.sweep import Sweep
from pipeline.system import processes
from pipeline.system.errors import PipelineError
from pipeline.system.paths import resolve
from pipeline.system.processes import TRIAL

log = logging.getLogger(__name__)

_SAMPLERS = {
    "tpe": optuna.samplers.TPESampler,
    "random": optuna.samplers.RandomSampler,
    # Never samples, because all points of the grid are enqueued.
    "grid": optuna.samplers.RandomSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
}
_PRUNERS = ("median", "hyperband", "none")
_PROCESS = "process"


@dataclass
class Settings:
    """Settings of a search, as described in conf/hydra/sweeper/optuna.yaml."""

    study: str
    storage: str
    trials: int
    batch: int
    objectives: list[str]
    sampler: str
    pruner: str
    startup_trials: int
    warmup_epochs: int
    seed: int
    params: dict[str, str]

    def problems(self) -> list[str]:
        """Return a message for each invalid setting."""
        problems = []
        for name, allowed in (("sampler", _SAMPLERS), ("pruner", _PRUNERS)):
            value = getattr(self, name)
            if value not in allowed:
                problems.append(f"hydra.sweeper.{name}: invalid value {value!r}; expected one of {', '.join(allowed)}")
        for name in ("trials", "batch"):
            value = getattr(self, name)
            if value < 1:
                problems.append(f"hydra.sweeper.{name}: invalid value {value}; expected an integer >= 1")
        if not self.objectives or set(self.objectives) - set(OBJECTIVES):
            expected = f"a list of {', '.join(OBJECTIVES)}"
            problems.append(f"hydra.sweeper.objectives: invalid value {self.objectives}; expected {expected}")
        if urlsplit(self.storage).password:
            problems.append(
                "hydra.sweeper.storage: contains a password, which would be written to files; set PGPASSWORD instead"
            )
        if len(self.objectives) > 1 and self.pruner != "none":
            log.info("Pruning is disabled, because it is not supported with several objectives")
        return problems

    @property
    def reported(self) -> str | None:
        """Name of the per-epoch metric that the pruner compares; None if trials are not pruned."""
        only = self.objectives[0] if len(self.objectives) == 1 else None
        return only if self.pruner != "none" and only in ("val_accuracy", "val_loss") else None


class Search:
    """Search that runs the trials of a study, which other commands may continue or run at the same time."""

    def __init__(self, settings: dict[str, Any], config: DictConfig, arguments: list[str]):
        """Parse the settings and the search space.

        Args:
            settings: Settings of `hydra.sweeper`.
            config: Composed configuration.
            arguments: Overrides from the command line, with single values or sweeps.

        Raises:
            PipelineError: A setting or a sweep is invalid, or the search space is empty.
        """
        self._settings = Settings(**{name: _plain(value) for name, value in settings.items()})
        self._config = config
        searched = [f"{name}={value}" for name, value in self._settings.params.items()]
        overrides = OverridesParser.create().parse_overrides([*searched, *arguments])
        # Later overrides replace earlier ones of the same key.
        last = {override.get_key_element(): override for override in overrides}
        self._fixed = [each.input_line for each in last.values() if not each.is_sweep_override()]
        self._space = {key: distribution(each) for key, each in last.items() if each.is_sweep_override()}
        problems = self._settings.problems()
        if not self._space:
            problems.append(
                "hydra.sweeper.params: the search space is empty; give 'key=choice(a,b)', 'key=interval(low,high)' or 'key=range(low,high)'"
            )
        if problems:
            raise PipelineError("The search can't start:\n" + "\n".join(f"  - {each}" for each in problems))
        self._storage = self._settings.storage
        if self._storage.startswith("sqlite:///"):
            self._storage = sqlite_address(resolve(self._storage.removeprefix("sqlite:///")))

    def run(self, launcher: Sweep) -> None:
        """Run trials until the study has the configured number, then log the report."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=self._settings.study,
            storage=self._storage,
            load_if_exists=True,
            directions=[OBJECTIVES[name] for name in self._settings.objectives],
        )
        options = {"constant_liar": self._settings.batch > 1} if self._settings.sampler == "tpe" else {}
        # With a constant seed, a second command would sample the same trials as the first one.
        seed = self._settings.seed + len(study.get_trials(deepcopy=False))
        study.sampler = _SAMPLERS[self._settings.sampler](seed=seed, **options)
        enqueue_dead_trials(study)
        if self._settings.sampler == "grid":
            points = {key: _values(key, each) for key, each in self._space.items()}
            enqueue_grid(study, points, self._settings.trials, self._settings.seed)
        jobs = 0
        while (left := self._left(study)) > 0:
            trials = [study.ask(self._space) for _ in range(min(left, self._settings.batch))]
            for trial in trials:
                trial.set_user_attr(_PROCESS, processes.own())
            labels = [label([f"{name}={value}" for name, value in trial.params.items()]) for trial in trials]
            returned = launcher.launch([self._overrides(trial) for trial in trials], jobs, labels)
            for trial, job in zip(trials, returned, strict=True):
                self._tell(study, trial, JobResult.from_dict(job.return_value))
            jobs += len(trials)
        # With several objectives, the best trials are the Pareto front.
        for trial in study.best_trials:
            log.info("Best trial: %d, values %s, parameters %s", trial.number, trial.values, trial.params)
        log_search(study, self._settings.objectives, launcher.parent)

    def _left(self, study: optuna.Study) -> int:
        """Return the number of trials to start; trials whose command died do not count and are repeated."""
        trials = study.get_trials(deepcopy=False)
        if self._settings.sampler == "grid":
            return sum(trial.state == TrialState.WAITING for trial in trials)
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        # Trials with a reason failed and are not repeated.
        return self._settings.trials - sum(each.state in ended or "reason" in each.user_attrs for each in trials)

    def _overrides(self, trial: optuna.Trial) -> list[str]:
        chosen = [f"{key}={quoted(value)}" for key, value in trial.params.items()]
        search = {
            "study": self._settings.study,
            "storage": self._storage,
            "id": trial._trial_id,
            "number": trial.number,
            "report": self._settings.reported,
            "pruner": {
                "name": self._settings.pruner,
                "startup_trials": self._settings.startup_trials,
                "warmup_epochs": self._settings.warmup_epochs,
            },
        }
        return [*self._fixed, *chosen, f"+hydra.job.env_set.{TRIAL}={quote_literally(json.dumps(search))}"]

    def _tell(self, study: optuna.Study, trial: optuna.Trial, result: JobResult) -> None:
        trial.set_user_attr("folder", result.folder)
        if result.status == JobStatus.PRUNED:
            study.tell(trial, state=TrialState.PRUNED)
        elif result.status.failed:
            trial.set_user_attr("reason", result.reason)
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, [result.figures[name] for name in self._settings.objectives])


def distribution(override: Override) -> BaseDistribution:
    """Convert a sweep in Hydra's grammar to an Optuna distribution.

    Args:
        override: Override with `choice(a,b)`, `range(1,9,2)`, `interval(1e-5,1e-3)`, `tag(log, ...)` or
            `int(interval(1,9))`.

    Raises:
        PipelineError: Optuna has no distribution for this sweep.
    """
    value, key = override.value(), override.get_key_element()
    if override.is_choice_sweep():
        return CategoricalDistribution(list(override.sweep_iterator()))
    if isinstance(value, RangeSweep):
        whole = all(isinstance(each, int) for each in (value.start, value.stop, value.step))
        kind = IntDistribution if whole else FloatDistribution
        # The end of a Hydra range is exclusive.
        last = value.stop - 1 if whole else value.stop
        return kind(value.start, value.start + (last - value.start) // value.step * value.step, step=value.step)
    if isinstance(value, IntervalSweep):
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        kind = IntDistribution if whole else FloatDistribution
        return kind(value.start, value.end, log="log" in value.tags)
    raise PipelineError(f"{key}: {override.input_line} can't be searched; use choice(...), range(...) or interval(...)")


def enqueue_dead_trials(study: optuna.Study) -> None:
    """Mark trials whose command died as failed, and enqueue their parameters, so that their jobs resume."""
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        process = trial.user_attrs.get(_PROCESS)
        if process is None or processes.is_dead(process):
            study.enqueue_trial(trial.params)
            study.tell(trial.number, state=TrialState.FAIL)
            log.info("Trial %d was interrupted; its job will be resumed", trial.number)


def enqueue_grid(study: optuna.Study, values: dict[str, list[Any]], trials: int, seed: int) -> None:
    """Enqueue the first `trials` points of a shuffled grid, without points that the study has already.

    Optuna's GridSampler is not used, because it stops the study itself and ignores points tried with another seed.
    """
    points = list(ParameterGrid(values))
    # Shuffled, so that the first points differ in all parameters.
    random.Random(seed).shuffle(points)
    for point in points[:trials]:
        study.enqueue_trial(point, skip_if_exists=True)


def _values(key: str, space: BaseDistribution) -> list[Any]:
    if isinstance(space, CategoricalDistribution):
        return list(space.choices)
    if isinstance(space, IntDistribution) and not space.log:
        return list(range(space.low, space.high + 1, space.step))
    raise PipelineError(f"{key}: invalid sweep for a grid; use choice(...) or range(...) with integers")


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
