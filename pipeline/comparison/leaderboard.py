"""Short table of a comparison for people: rounded values, and headers that can be read."""

import pandas as pd

from pipeline.comparison.costs import COSTS
from pipeline.comparison.ranking import Ranking
from pipeline.evaluation.metrics import METRICS

_DECIMALS = 4
_BEST_ROWS = 20


def leaderboard(ranking: Ranking) -> pd.DataFrame:
    """Return the table of a ranking, best row first.

    Its rows were evaluated on the same test images. The columns are the settings in which they differ, the metric with
    both ends of its interval, other metrics, costs, and the ids of the runs.
    """
    interval = f"{ranking.confidence:.0%} interval"
    rows = []
    for index, each in enumerate(ranking.rows):
        row, estimate = each.row, each.estimate
        settings = {key.removesuffix(".name"): value for key, value in row.differences.items()}
        columns: dict[str, object] = {"rank": index + 1, **(settings or {"run": row.label})}
        columns |= {
            ranking.label: round(estimate.value, _DECIMALS),
            f"{interval} from": round(estimate.low, _DECIMALS),
            f"{interval} to": round(estimate.high, _DECIMALS),
        }
        for name, metric in METRICS.items():
            value = row.mean(f"test/{name}")
            if metric.beside_others and name != ranking.metric and value is not None:
                columns[metric.label] = round(value, _DECIMALS)
        columns |= {cost.label: cost.text(row.mean(cost.metric)) for cost in COSTS.values()}
        rows.append(columns | {"seeds": len(row.experiments), "runs": " ".join(run.run_id for run in row.experiments)})
    return pd.DataFrame(rows)


def as_markdown(board: pd.DataFrame) -> str:
    """Return the first rows of a leaderboard as a table in Markdown, without the ids of the runs."""
    shown = board.drop(columns="runs").head(_BEST_ROWS).astype(str)
    lines = [[str(name) for name in shown], ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)
