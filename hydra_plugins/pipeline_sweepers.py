"""`hydra/sweeper=grid` and `hydra/sweeper=optuna`; the work is in `pipeline.sweeps`.

Hydra looks for plugins in the package `hydra_plugins` alone.
"""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, which continues after failed jobs, and ends with a table of all jobs."""

    launcher: Any

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs of a grid."""
        from pipeline.sweeps.sweep import Sweep

        with Sweep(self.launcher, self.config) as self.launcher:
            return super().sweep(arguments)


class OptunaSweeper(Sweeper):
    """Optuna chooses the next jobs; see `pipeline.sweeps.optuna_search` and conf/hydra/sweeper/optuna.yaml."""

    def __init__(self, **settings: Any):
        """`settings`: the keys of conf/hydra/sweeper/optuna.yaml."""
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher, as Hydra asks of each sweeper."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the trials of a study."""
        from pipeline.sweeps.optuna_search import Search
        from pipeline.sweeps.sweep import Sweep

        search = Search(self.settings, self.config, arguments)
        with Sweep(self.launcher, self.config) as launcher:
            search.run(launcher)
