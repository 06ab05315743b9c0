"""The models worth their cost, and the best experiment of a comparison."""

from collections.abc import Sequence

from pipeline.comparison.experiments import Experiment, find, select
from pipeline.comparison.ranking import LESS_IS_BETTER, Ranking, rank
from pipeline.comparison.rows import COSTS, make_rows
from pipeline.config import Config


def on_frontier(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Places of the models that no other beats in one without being worse in the other, from the cheapest on.

    Args:
        costs: less is better.
        gains: more is better.
    """
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -gains[place]))
    kept: list[int] = []
    for place in order:
        if not kept or gains[place] > gains[kept[-1]]:
            kept.append(place)
    return kept


def gains(evidence: Ranking) -> list[float]:
    """Each row's figure, so turned that more is better."""
    sign = -1 if evidence.metric in LESS_IS_BETTER else 1
    return [sign * each.estimate.value for each in evidence.judged]


def winner(evidence: Ranking, cost: str) -> int | None:
    """The cheapest row of those that can't be told apart from the best; of equally cheap ones the one with fewer trained parameters,
    then the better one. None where no run says what it costs.

    Costs are equal where their first two digits are: files of one network differ by bytes, and times by what else the machine did.
    """
    priced = []
    for place in evidence.top:
        costs = [evidence.judged[place].row.mean(COSTS[name]) for name in (cost, "trainable")]
        if None not in costs:
            priced.append((*(float(f"{each:.1e}") for each in costs), place))
    return min(priced)[-1] if priced else None


def reason(evidence: Ranking, place: int, cost: str) -> str:
    """Why that row wins, in a sentence."""
    words = {
        "trainable": "trainable parameters",
        "training": "training time",
        "latency": "prediction time",
        "size": "model size",
    }
    others = len(evidence.top) - 1
    level = f"{1 - evidence.confidence:.2g}"
    if len(evidence.judged) == 1:
        return "It is the only one."
    if not others:
        return f"It is better than every other one (corrected p below {level})."
    best = "It is the best" if place == 0 else f"The best, {evidence.judged[0].row.label}, is not shown to be better"
    return f"{best}; {others + 1} can't be told apart at the level {level}, and of these it takes the least in {words[cost]}."


def best_experiment(
    config: Config,
    cost: str = "size",
    query: str | None = None,
    sweep: str | None = None,
    runs: Sequence[str] | None = None,
) -> Experiment:
    """The cheapest experiment that can't be told apart in accuracy from the best one; of several seeds the first, since choosing among them
    by test images would be luck.

    Raises:
        PipelineError: there is no complete experiment.
    """
    selection = select(find(config.tracking, query, sweep, runs), strict=runs is not None)
    evidence = rank(make_rows(selection.experiments), "accuracy", config.evaluate.top_k, config.evaluate.confidence)
    return evidence.judged[winner(evidence, cost) or 0].row.experiments[0]
