"""What Hydra finds as `hydra/sweeper=grid` and `hydra/sweeper=optuna`; it takes plugins from this package alone. The work is in `pipeline.sweeping`."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class GridSweeper(BasicSweeper):
    """Hydra's own sweeper, which goes on after anything that happens to jobs, and ends with a table of what became of them."""

    def sweep(self, arguments: list[str]) -> Any:
        from pipeline.sweeping import Sweep

        with Sweep(self.config) as sweep:
            self.launcher = sweep.persistent(self.launcher)
            return super().sweep(arguments)
