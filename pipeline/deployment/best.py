"""The best experiment of a comparison, as `python -m pipeline.compare --best` names it."""

from collections.abc import Sequence

from pipeline.comparison.evidence import weigh
from pipeline.comparison.experiments import Experiment, find, select
from pipeline.comparison.frontier import winner
from pipeline.comparison.rows import make_rows
from pipeline.config import Config


def best_experiment(
    config: Config,
    cost: str = "size",
    query: str | None = None,
    sweep: str | None = None,
    runs: Sequence[str] | None = None,
) -> Experiment:
    """The cheapest experiment that can't be told apart in accuracy from the best one; of several seeds the first, since choosing among them
    by test pictures would be luck.

    Raises:
        PipelineError: there is no complete experiment.
    """
    selection = select(find(config.tracking, query, sweep, runs), strict=runs is not None)
    evidence = weigh(make_rows(selection.experiments), "accuracy", config.evaluate.top_k, config.evaluate.confidence)
    return evidence.judged[winner(evidence, cost) or 0].row.experiments[0]
