"""The comparison as one page."""

from pathlib import Path

from pipeline.comparison import plots
from pipeline.comparison.best import reason
from pipeline.comparison.experiments import Selection
from pipeline.comparison.ranking import Ranking
from pipeline.comparison.rows import COSTS
from pipeline.comparison.table import OTHERS, letters, told_cost
from pipeline.visuals.pages import write_page
from pipeline.visuals.style import as_svg


def write_comparison(file: Path, evidence: Ranking, selection: Selection, chosen: int | None, cost: str) -> None:
    """Write the page; `chosen` is the place of the row that the rule picks by `cost`."""
    keys = list(evidence.judged[0].row.differences)
    charts = {
        "ranking": plots.ranking(evidence),
        "frontier": plots.frontiers(evidence),
        "learning": plots.learning_curves(evidence),
    }
    rows = [
        {
            "settings": [each.row.differences[key] for key in keys] or [each.row.label],
            "estimate": each.estimate,
            "spread": each.spread,
            "seeds": len(each.row.experiments),
            "letters": letters(evidence, place).split(),
            "p": evidence.p[0, place],
            "others": [each.row.mean(f"test/{name}") for name in others(evidence)],
            "costs": [told_cost(name, each.row.mean(key)) for name, key in COSTS.items()],
            "runs": [run.name for run in each.row.experiments],
        }
        for place, each in enumerate(evidence.judged)
    ]
    write_page(
        "comparison.html",
        file,
        title=f"{len(rows)} {'models' if len(rows) != 1 else 'model'} by {evidence.metric.replace('_', ' ')}",
        evidence=evidence,
        keys=[key.removesuffix(".name") for key in keys] or ["run"],
        others=others(evidence),
        costs=["trainable", "training", "latency", "size"],
        rows=rows,
        chosen=chosen,
        why=reason(evidence, chosen, cost) if chosen is not None else "",
        runs=sum(len(each.row.experiments) for each in evidence.judged),
        elsewhere={digest[:8] or "unknown": [run.name for run in runs] for digest, runs in selection.elsewhere.items()},
        repeats=selection.repeats,
        charts={name: as_svg(figure) for name, figure in charts.items() if figure},
        axes={key: as_svg(figure) for key, figure in plots.sweep_axes(evidence).items()},
    )


def others(evidence: Ranking) -> list[str]:
    """The figures that stand beside the one asked for."""
    return [name for name in OTHERS if name != evidence.metric]
