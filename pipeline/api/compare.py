"""Comparison of experiments as a table."""

from collections.abc import Sequence

import pandas as pd

from pipeline.api.run import Run
from pipeline.api.state import own_state
from pipeline.config.compose import configuration
from pipeline.config.validate import unknown
from pipeline.evaluation.metrics import RANKING_METRICS
from pipeline.system.errors import PipelineError


def compare(
    *runs: Run | str,
    sweep: str | None = None,
    query: str | None = None,
    metric: str = "accuracy",
    test: str | None = None,
    overrides: Sequence[str] = (),
) -> pd.DataFrame:
    """Compare complete experiments on the same test images, as `python -m pipeline.compare` does.

    Args:
        runs: Runs, or ids of runs in MLflow. None: all experiments, or those that `sweep` and `query` select.
        sweep: Part of a sweep's command line; empty for the latest sweep.
        query: MLflow search, such as "params.`backbone.name` = 'vgg16'".
        metric: Metric for ranking and tests, one of `pipeline.evaluation.metrics.RANKING_METRICS`.
        test: First characters of the digest of the test images. None: the latest ones that several experiments share.
        overrides: Overrides of the configuration, such as "tracking.uri=http://host:5000".

    Returns:
        One row per configuration, best first, with its settings, the metric with its interval, the p-value against the
        best, other metrics, costs, and the ids of its runs. Rows that share a letter in the column groups do not differ
        significantly. Seeds of the same configuration are one row.

    Raises:
        PipelineError: There are no such experiments, or the given runs were evaluated on different test images.
    """
    if metric not in RANKING_METRICS:
        raise PipelineError(f"metric={unknown('metric', metric, RANKING_METRICS)} ({', '.join(RANKING_METRICS)})")
    ids = [each if isinstance(each, str) else _id(each) for each in runs]
    with own_state():
        # MLflow takes seconds to import.
        from pipeline.comparison.experiments import find, make_rows, select
        from pipeline.comparison.output import as_frame
        from pipeline.comparison.ranking import rank

        config = configuration(overrides)
        experiments = find(config.tracking, query=query, sweep=sweep, run_ids=ids or None)
        rows = make_rows(select(experiments, strict=bool(ids), test=test).experiments)
        return as_frame(rank(rows, metric, config.evaluate.top_k, config.evaluate.confidence))


def _id(run: Run) -> str:
    if run.run_id is None:
        raise PipelineError(f"{run.address} is not logged to MLflow; run the experiment again to complete it")
    return run.run_id
