"""The models worth their cost, and the best experiment of a comparison."""

from collections.abc import Sequence

from pipeline.comparison.costs import COSTS
from pipeline.comparison.experiments import Experiment, find, select
from pipeline.comparison.ranking import Ranking, rank
from pipeline.comparison.rows import make_rows
from pipeline.config import Config


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Indices of the models that no other beats in one without being worse in the other, from the cheapest on.

    Args:
        costs: less is better.
        gains: more is better.
    """
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda each: (costs[each], -gains[each])):
        if not front or gains[index] > gains[front[-1]]:
            front.append(index)
    return front


def winner(ranking: Ranking, cost: str) -> int | None:
    """Find the cheapest row of those that do not differ significantly from the best one.

    Of equally cheap rows it is the one with fewer trained parameters, then the better one. Costs are equal where their
    first two digits are: files of one network differ by bytes, and times by what else the machine did.

    Returns:
        Its index; None where no run has these costs.
    """
    candidates = []
    for index in ranking.top:
        costs = [ranking.rows[index].row.mean(COSTS[name].metric) for name in (cost, "trainable")]
        rounded = [float(f"{value:.1e}") for value in costs if value is not None]
        if len(rounded) == len(costs):
            candidates.append((rounded, index))
    return min(candidates)[1] if candidates else None


def reason(ranking: Ranking, index: int, cost: str) -> str:
    """Explain in a sentence why that row wins."""
    level = f"{1 - ranking.confidence:.2g}"
    if len(ranking.rows) == 1:
        return "It is the only one."
    if len(ranking.top) == 1:
        return f"It is significantly better than every other one (corrected p below {level})."
    best = "It is the best" if index == 0 else f"The best, {ranking.rows[0].row.label}, is not significantly better"
    return (
        f"{best}; {len(ranking.top)} models do not differ significantly at the level {level}, "
        f"and of these it is lowest in {COSTS[cost].label}."
    )


def best_experiment(
    config: Config,
    *,
    cost: str = "size",
    query: str | None = None,
    sweep: str | None = None,
    run_ids: Sequence[str] | None = None,
) -> Experiment:
    """Find the cheapest experiment whose accuracy does not differ significantly from the best one's.

    Of several seeds it is the first, since a choice among them by test images would be luck.

    Args:
        config: with the tracking store, and the confidence of the tests.
        cost: of `COSTS`.
        query: see `pipeline.comparison.experiments.find`; so are `sweep` and `run_ids`.
        sweep: see `query`.
        run_ids: see `query`.

    Raises:
        PipelineError: there is no complete experiment.
    """
    experiments = find(config.tracking, query=query, sweep=sweep, run_ids=run_ids)
    rows = make_rows(select(experiments, strict=run_ids is not None).experiments)
    ranking = rank(rows, "accuracy", config.evaluate.top_k, config.evaluate.confidence)
    return ranking.rows[winner(ranking, cost) or 0].row.experiments[0]
