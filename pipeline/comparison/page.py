"""The comparison as one page."""

from pathlib import Path

from pipeline.comparison import plots
from pipeline.comparison.costs import COSTS
from pipeline.comparison.experiments import Selection
from pipeline.comparison.ranking import Ranking, reason
from pipeline.comparison.table import letters, other_metrics
from pipeline.visuals.pages import write_page
from pipeline.visuals.style import as_svg


def write_comparison(file: Path, ranking: Ranking, selection: Selection, *, chosen: int | None, cost: str) -> None:
    """Write the page; `chosen` is the index of the row that wins by `cost`."""
    keys, others = list(ranking.rows[0].row.differences), other_metrics(ranking)
    charts = {
        "ranking": plots.ranking_chart(ranking),
        "frontier": plots.cost_charts(ranking),
        "learning": plots.learning_curves(ranking),
    }
    rows = [
        {
            "settings": [each.row.differences[key] for key in keys] or [each.row.label],
            "estimate": each.estimate,
            "spread": each.spread,
            "seeds": len(each.row.experiments),
            "letters": letters(ranking, index).split(),
            "p": ranking.p[0, index],
            "others": [each.row.mean(name) for name in others.values()],
            "costs": [each_cost.text(each.row.mean(each_cost.metric)) for each_cost in COSTS.values()],
        }
        for index, each in enumerate(ranking.rows)
    ]
    write_page(
        "comparison.html",
        file,
        title=f"{len(rows)} {'models' if len(rows) != 1 else 'model'} by {ranking.label}",
        ranking=ranking,
        keys=[key.removesuffix(".name") for key in keys] or ["run"],
        others=list(others),
        costs=list(COSTS),
        rows=rows,
        chosen=chosen,
        why=reason(ranking, chosen, cost) if chosen is not None else "",
        runs=sum(len(each.row.experiments) for each in ranking.rows),
        elsewhere={digest[:8] or "unknown": [run.name for run in runs] for digest, runs in selection.elsewhere.items()},
        repeats=selection.repeats,
        charts={name: as_svg(figure) for name, figure in charts.items() if figure},
        axes={key: as_svg(figure) for key, figure in plots.sweep_axes(ranking).items()},
    )
