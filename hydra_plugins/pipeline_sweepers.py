"""Hydra plugins for `hydra/sweeper=grid` and `hydra/sweeper=optuna`, implemented in `pipeline.sweeps`.

Hydra searches for plugins only in the package `hydra_plugins`.
"""

import sys
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(BasicSweeper):
    """Grid sweeper that prints a plan, continues after failed jobs, and prints a table of results at the end."""

    launcher: Any

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Create the launcher, as Hydra requires of each sweeper."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.last = getattr(task_function, "stage", None)

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs of a grid of overrides, or only print their plan."""
        from pipeline.jobs.plan_table import print_plan
        from pipeline.sweeps.grid import plan_grid
        from pipeline.sweeps.sweep import Sweep

        loader, config = self.hydra_context.config_loader, self.config
        parsed = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        [jobs] = self.split_arguments(parsed, None)

        def compose(overrides: Sequence[str]) -> DictConfig:
            return loader.load_sweep_config(config, list(overrides))

        plan = plan_grid(jobs, compose, last=self.last, remember=not config.plan)
        print_plan(plan, None if config.plan else sys.stderr)
        if config.plan:
            return []
        with Sweep(self.launcher, config, plan) as self.launcher:
            return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Do nothing, since all jobs were composed for the plan."""


class OptunaSweeper(Sweeper):
    """Sweeper whose jobs Optuna chooses; see `pipeline.sweeps.optuna_search` and conf/hydra/sweeper/optuna.yaml."""

    def __init__(self, **settings: Any):
        """Create a sweeper from the settings in conf/hydra/sweeper/optuna.yaml."""
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Create the launcher, as Hydra requires of each sweeper."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the trials of an Optuna study."""
        if self.config.plan:
            print("A search can't be planned: it chooses each job by the results of earlier ones.")
            return
        from pipeline.sweeps.optuna_search import Search
        from pipeline.sweeps.sweep import Sweep

        search = Search(self.settings, self.config, arguments)
        with Sweep(self.launcher, self.config) as launcher:
            search.run(launcher)
