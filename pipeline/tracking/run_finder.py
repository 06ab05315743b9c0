"""The run of an experiment that is open to a stage."""

from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Run

BEGUN = "begun"
"""Value of the tag `<stage>.computed_by` until the stage has ended."""


@dataclass(frozen=True)
class StageContext:
    """The stage that logs into an experiment's run."""

    key: str
    """The experiment's."""
    stage: str
    root: Path
    """Folder of the stages' folders."""
    needs: tuple[str, ...]
    """The earlier stages that it reads from."""
    resumes: bool
    """It was cut off, and resumes after all epochs that were reported."""
    computed: bool
    """Its result exists, and only has to be logged."""


@dataclass(frozen=True)
class RunFinder:
    """Finds the run that a stage may log into."""

    client: mlflow.MlflowClient
    experiment_id: str
    """MLflow's."""
    known: str | None
    """The run that has the experiment's earlier results: with a clock set back, a later run seems the earlier."""

    def find(self, context: StageContext) -> str | None:
        """Find the run that has the inputs, else the experiment's latest one, if it is open to this stage.

        Returns:
            the run's id; None: a new run is needed.
        """
        query = f"tags.role = 'experiment' and tags.experiment_key = '{context.key}'"
        runs = self.client.search_runs([self.experiment_id], query, order_by=["attributes.start_time DESC"])
        for run in [*(each for each in runs if each.info.run_id == self.known), *runs[:1]]:
            if self._is_open(run, context):
                return run.info.run_id
        return None

    def _is_open(self, run: Run, context: StageContext) -> bool:
        run_id, tags, stage = run.info.run_id, run.data.tags, context.stage
        if context.computed or stage == "report":
            # Nothing is computed: charts that are drawn again belong to the same numbers.
            return run.info.status != "RUNNING"
        if "complete" in tags or tags.get(f"{stage}.computed_by", BEGUN) != BEGUN or run.info.status == "RUNNING":
            return False
        if f"{stage}.computed_by" in tags and not context.resumes:
            # From the start again, epochs that were reported may come out otherwise, on another device.
            known = {epoch for name in context.needs for epoch in _epochs(context.root / name / "history.csv")}
            reported = {metric.step for metric in self.client.get_metric_history(run_id, "training/loss")}
            return not reported - known
        return True


def _epochs(history: Path) -> list[int]:
    return pd.read_csv(history)["epoch"].tolist() if history.exists() else []
