"""Output of a comparison: a table in the terminal, a table for CSV files, and an HTML report."""

import sys
from pathlib import Path
from typing import TextIO

import pandas as pd
from rich.table import Table

from pipeline.comparison import plots
from pipeline.comparison.costs import COSTS
from pipeline.comparison.experiments import Experiment, Selection, name_runs
from pipeline.comparison.ranking import Ranking, reason
from pipeline.evaluation.metrics import METRICS
from pipeline.evaluation.significance import letters
from pipeline.system.errors import PipelineError
from pipeline.system.terminal import duration, table_console
from pipeline.visuals.pages import p_value, scale, write_page


def other_metrics(ranking: Ranking) -> dict[str, str]:
    """Return the MLflow names, by label, of the metrics shown in addition to the metric of the ranking."""
    return {
        metric.label: f"test/{name}"
        for name, metric in METRICS.items()
        if metric.beside_others and name != ranking.metric
    }


def taken_stages(ranking: Ranking, index: int) -> str:
    """Return the stages that a row took from elsewhere, such as `prepare, train: row 1`."""
    rows = {run.run_id: place for place, each in enumerate(ranking.rows) for run in each.row.experiments}
    sources: dict[str, dict[str, None]] = {}
    for run in ranking.rows[index].row.experiments:
        for stage, run_id in run.taken.items():
            source = f"row {rows[run_id] + 1}" if run_id in rows else f"run {run_id[:8]}"
            sources.setdefault("other seeds" if rows.get(run_id) == index else source, {})[stage] = None
    return "; ".join(f"{', '.join(stages)}: {source}" for source, stages in sources.items())


def as_frame(ranking: Ranking) -> pd.DataFrame:
    """Convert a ranking to a table, best row first, with settings, metrics, intervals, tests, costs and run ids."""
    rows = []
    for index, each in enumerate(ranking.rows):
        row = each.row
        columns = {"rank": index + 1, **row.differences}
        columns |= each.estimate.named(ranking.metric)
        columns |= {"seeds": len(row.experiments), "spread": each.spread}
        columns |= {"groups": letters(ranking.groups, index), "p_against_best": ranking.p[0, index]}
        columns |= {name: row.mean(name) for name in other_metrics(ranking).values()}
        columns |= {cost.metric: row.mean(cost.metric) for cost in COSTS.values()}
        columns |= {"taken": taken_stages(ranking, index), "seconds": sum(run.seconds for run in row.experiments)}
        rows.append(columns | {"runs": " ".join(run.run_id for run in row.experiments)})
    return pd.DataFrame(rows)


def as_table(ranking: Ranking, chosen: int | None) -> Table:
    """Convert a ranking to a table for the terminal, in which the row at index `chosen` is highlighted."""
    keys = list(ranking.rows[0].row.differences) or ["run"]
    columns = [*(key.removesuffix(".name") for key in keys), ranking.label, "interval", "groups", "p against best"]
    table = Table("", *columns, "seeds", *COSTS, "taken", "in total", box=None, header_style="bold")
    for column in table.columns:
        # A narrow terminal breaks words instead of cutting them off.
        column.overflow = "fold"
    # As wide as the longest stage with its colon.
    table.columns[-2].min_width = 9
    for index, each in enumerate(ranking.rows):
        row = each.row
        settings = list(row.differences.values()) or [row.label]
        spread = f" ± {each.spread:.4f}" if each.spread is not None else ""
        table.add_row(
            str(index + 1),
            *settings,
            f"{each.estimate.value:.4f}{spread}",
            f"{each.estimate.low:.4f} to {each.estimate.high:.4f}",
            letters(ranking.groups, index),
            p_value(ranking.p[0, index]) if index else "",
            str(len(row.experiments)),
            *(cost.text(row.mean(cost.metric)) for cost in COSTS.values()),
            taken_stages(ranking, index),
            duration(sum(run.seconds for run in row.experiments)),
            style="bold green" if index == chosen else None,
        )
    return table


def print_comparison(
    ranking: Ranking, selection: Selection, chosen: int | None, cost: str, *, file: TextIO | None = None
) -> None:
    """Print the ranking, the excluded experiments, and the recommended row, at index `chosen`, with the reason."""
    console = table_console(file, width=200)
    console.print(as_table(ranking, chosen))
    console.print(
        f"\n{ranking.images} test images. Models that share a letter do not differ significantly (Holm-corrected p at "
        f"least {1 - ranking.confidence:.2g}). Intervals: {ranking.confidence:.0%} confidence; ±: standard deviation over seeds. "
        "In total: time of the stages that the runs of a row computed; the others are taken from the named ones."
    )
    for digest, runs in selection.elsewhere.items():
        left_out = f"Excluded because of different test images ({digest[:8] or 'unknown'}): {name_runs(runs)}"
        console.print(left_out, style="yellow")
    if chosen is not None:
        label = ranking.rows[chosen].row.label
        console.print(f"Recommended: {label}. {reason(ranking, chosen, cost)}", highlight=False)


def print_best(ranking: Ranking, chosen: int | None, cost: str) -> None:
    """Print the run ids of the recommended row to standard output, and its settings and the reason to standard error.

    Raises:
        PipelineError: No run has the cost metric.
    """
    if chosen is None:
        raise PipelineError(
            f"None of the best models has the metric {COSTS[cost].metric} in MLflow; rerun their experiments"
        )
    won, value = ranking.rows[chosen], ranking.rows[chosen].estimate
    print(" ".join(run.run_id for run in won.row.experiments))
    result = f"{won.row.label}: {ranking.label} {value.value:.4f} ({value.low:.4f} to {value.high:.4f})"
    print(f"{result}. {reason(ranking, chosen, cost)}", file=sys.stderr)


def write_comparison(
    file: Path, ranking: Ranking, selection: Selection, *, chosen: int | None, cost: str, server: str
) -> None:
    """Write the HTML report; `chosen` is the index of the row recommended by `cost`, `server` MLflow's address."""
    keys, others, colours = list(ranking.rows[0].row.differences), other_metrics(ranking), plots.row_colours(ranking)
    rows = [
        {
            "settings": [each.row.differences[key] for key in keys] or [each.row.label],
            "estimate": each.estimate,
            "spread": each.spread,
            "seeds": len(each.row.experiments),
            "letters": letters(ranking.groups, index).split(),
            "p": ranking.p[0, index],
            "others": [each.row.mean(name) for name in others.values()],
            "costs": [each_cost.text(each.row.mean(each_cost.metric)) for each_cost in COSTS.values()],
            "colour": colours[index],
            "links": [_links(run, server) for run in each.row.experiments],
        }
        for index, each in enumerate(ranking.rows)
    ]
    write_page(
        "comparison.html",
        file,
        wide=True,
        title=f"{len(rows)} {'models' if len(rows) != 1 else 'model'} by {ranking.label}",
        ranking=ranking,
        ends=scale(*_extremes(ranking)),
        keys=[key.removesuffix(".name") for key in keys] or ["run"],
        others=list(others),
        costs=list(COSTS),
        rows=rows,
        chosen=chosen,
        why=reason(ranking, chosen, cost) if chosen is not None else "",
        runs=sum(len(each.row.experiments) for each in ranking.rows),
        elsewhere={digest[:8] or "unknown": [run.name for run in runs] for digest, runs in selection.elsewhere.items()},
        repeats=selection.repeats,
        axes=plots.sweep_axes(ranking),
        frontier=plots.cost_charts(ranking),
        learning=plots.learning_curves(ranking),
    )


def _extremes(ranking: Ranking) -> tuple[float, float]:
    estimates = [each.estimate for each in ranking.rows]
    return min(each.low for each in estimates), max(each.high for each in estimates)


def _links(run: Experiment, server: str) -> dict[str, str]:
    """Return the addresses of a run's report and of its page in MLflow."""
    page = f"{server}/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    report = "report/report.html"
    in_files = run.artifacts.startswith("file:")
    return {"mlflow": page, "report": f"{run.artifacts}/{report}" if in_files else f"{page}/artifacts/{report}"}
