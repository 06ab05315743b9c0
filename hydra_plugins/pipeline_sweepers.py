"""Hydra plugins for `hydra/sweeper=grid` and `hydra/sweeper=optuna`, implemented in `pipeline.sweeps`.

Hydra searches for plugins only in the package `hydra_plugins`.
"""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(BasicSweeper):
    """Grid sweeper that continues after failed jobs, and prints a table of all jobs at the end."""

    launcher: Any

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs of a grid of overrides."""
        from pipeline.sweeps.sweep import Sweep

        with Sweep(self.launcher, self.config) as self.launcher:
            return super().sweep(arguments)


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
        from pipeline.sweeps.optuna_search import Search
        from pipeline.sweeps.sweep import Sweep

        search = Search(self.settings, self.config, arguments)
        with Sweep(self.launcher, self.config) as launcher:
            search.run(launcher)
