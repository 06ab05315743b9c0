"""Charts of a comparison."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

from pipeline.comparison.costs import COSTS
from pipeline.comparison.experiments import Experiment, describe
from pipeline.comparison.ranking import RankedRow, Ranking
from pipeline.evaluation.metrics import Estimate
from pipeline.visuals.style import BLUE, INK, SERIES, charting, shorten

_MAX_LABEL = 46
_MAX_CURVES, _MAX_AXES = 10, 3


def ranking_chart(ranking: Ranking) -> Figure:
    """Draw each row's value and interval, best on top, and a line for each group without significant differences."""
    rows, count = ranking.rows, len(ranking.rows)
    with charting(9.5, 1.0 + 0.3 * count) as figure:
        axes = figure.subplots()
        values = np.array([each.estimate.value for each in rows])
        ends = np.array([(each.estimate.low, each.estimate.high) for each in rows]).T
        axes.errorbar(
            values, range(count), xerr=np.abs(ends - values), fmt="o", color=BLUE, markersize=5, capsize=2.5, linewidth=1.3
        )  # fmt: skip
        for index, each in enumerate(rows):
            if each.spread is not None:
                axes.plot(each.by_seed, [index] * len(each.by_seed), "|", color=INK, markersize=7, alpha=0.6)
        for number, group in enumerate(ranking.groups):
            # To the right of the axes.
            x, colour = 1.015 + 0.014 * number, SERIES[number % len(SERIES)]
            plot = partial(axes.plot, transform=axes.get_yaxis_transform(), clip_on=False, color=colour)
            plot([x, x], [min(group) - 0.25, max(group) + 0.25], linewidth=1, alpha=0.5)
            plot([x] * len(group), group, "o", markersize=4.5)
        axes.set_yticks(range(count), [shorten(each.row.label, _MAX_LABEL) for each in rows])
        axes.invert_yaxis()
        axes.set_xlabel(f"{ranking.label} with {ranking.confidence:.0%} confidence interval")
        axes.grid(axis="x")
        return figure


def cost_charts(ranking: Ranking) -> Figure | None:
    """Draw the metric against each cost, with the Pareto front; None if no cost is known or there is only one row."""
    by_cost = ((cost, [each.row.mean(cost.metric) for each in ranking.rows]) for cost in COSTS.values())
    known = {cost: [value for value in values if value is not None] for cost, values in by_cost if None not in values}
    if not known or len(ranking.rows) < 2:
        return None
    rows = -(-len(known) // 2)
    with charting(9.5, 3.0 * rows) as figure:
        grid = figure.subplots(rows, 2, squeeze=False)
        for axes, (cost, values) in zip(grid.flat, known.items(), strict=False):
            _draw_front(axes, values, ranking)
            axes.set(xlabel=f"{cost.label}, {cost.unit}" if cost.unit else cost.label, ylabel=ranking.label)
        for axes in list(grid.flat)[len(known) :]:
            axes.set_visible(False)
        return figure


def _draw_front(axes: Axes, costs: list[float], ranking: Ranking) -> None:
    heights = [each.estimate.value for each in ranking.rows]
    front = pareto_front(costs, ranking.gains)
    x, y = [costs[index] for index in front], [heights[index] for index in front]
    axes.plot(costs, heights, "o", color=INK, alpha=0.35, markersize=5)
    axes.plot(x, y, "o", color=BLUE, markersize=6)
    axes.step([*x, max(costs)], [*y, y[-1]], where="post", color=BLUE, linewidth=1.2, alpha=0.7)
    for index in front:
        place = (costs[index], heights[index])
        axes.annotate(str(index + 1), place, textcoords="offset points", xytext=(5, -11), fontsize=8)
    if min(costs) > 0 and max(costs) > 10 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.08, y=0.12)
    axes.grid()


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Return the indices of the models on the Pareto front, the cheapest first.

    Args:
        costs: Costs of the models; lower is better.
        gains: Quality of the models; higher is better.
    """
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda each: (costs[each], -gains[each])):
        if not front or gains[index] > gains[front[-1]]:
            front.append(index)
    return front


def sweep_axes(ranking: Ranking) -> dict[str, Figure]:
    """Draw the metric against each varied setting, one line per combination of the other settings, with intervals."""
    ticks = {key: _ordered_values(ranking, key) for key in ranking.rows[0].row.differences}
    swept = [key for key, values in ticks.items() if values][:_MAX_AXES]
    return {key: figure for key in swept if (figure := _along(ranking, key, ticks[key]))}


def _along(ranking: Ranking, key: str, ticks: list[str]) -> Figure | None:
    lines: dict[str, list[tuple[int, Estimate]]] = {}
    for each in ranking.rows:
        settings = each.row.differences
        name = describe({other: value for other, value in settings.items() if other != key})
        lines.setdefault(name, []).append((ticks.index(settings[key]), each.estimate))
    if not any(len(points) > 1 for points in lines.values()):
        return None
    with charting(7.5, 3.6) as figure:
        axes = figure.subplots()
        for number, (name, points) in enumerate(sorted(lines.items())):
            colour = SERIES[number % len(SERIES)]
            points.sort(key=lambda point: point[0])
            x, low, value, high = np.array([(place, each.low, each.value, each.high) for place, each in points]).T
            axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
            axes.plot(x, value, "o-", color=colour, markersize=5, label=name or ranking.label)
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set(xlabel=key, ylabel=ranking.label)
        axes.grid()
        if any(lines):
            figure.legend(loc="outside right upper", fontsize=8)
        return figure


def learning_curves(ranking: Ranking) -> Figure | None:
    """Draw validation accuracy and loss by epoch for the runs of the best rows; rings mark the start of fine-tuning."""
    rows = ranking.rows[:_MAX_CURVES]
    histories = [[history for run in each.row.experiments if (history := _history(run))] for each in rows]
    if not any(histories):
        return None
    with charting(9.5, 3.8 + 0.17 * len(rows)) as figure:
        for axes, name in zip(figure.subplots(1, 2), ("val_accuracy", "val_loss"), strict=True):
            for number, (each, runs) in enumerate(zip(rows, histories, strict=True)):
                _draw_history(axes, name, each, runs, colour=SERIES[number % len(SERIES)])
            axes.set(title=name.replace("val_", "validation "), xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid()
        figure.axes[1].set_yscale("log")
        for formatter in (figure.axes[1].yaxis.set_major_formatter, figure.axes[1].yaxis.set_minor_formatter):
            # The default formatter writes TeX formulas, which `charting` does not render.
            formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
        return figure


History = tuple[pd.DataFrame, pd.DataFrame]


def _draw_history(axes: Axes, name: str, ranked: RankedRow, runs: list[History], *, colour: str) -> None:
    for index, (train, finetune) in enumerate(runs):
        both, first = pd.concat([train, finetune]), finetune.iloc[0]
        label = shorten(ranked.row.label, _MAX_LABEL) if index == 0 else None
        axes.plot(both["epoch"], both[name], color=colour, linewidth=1.2, alpha=0.85, label=label)
        axes.plot(first["epoch"], first[name], "o", markersize=5, markerfacecolor="none", color=colour)


def _history(run: Experiment) -> History | None:
    """Read the training histories of both phases; None if the run lacks one of them."""
    train, finetune = (run.file(f"{phase}/history.csv") for phase in ("train", "finetune"))
    return None if train is None or finetune is None else (pd.read_csv(train), pd.read_csv(finetune))


def _ordered_values(ranking: Ranking, key: str) -> list[str]:
    """List the values of a numeric setting in ascending order; the list is empty for other settings.

    Unfreeze depths are ordered by the number of trainable parameters.
    """
    trained: dict[str, list[float]] = {}
    for each in ranking.rows:
        trained.setdefault(each.row.differences[key], []).append(each.row.mean("finetune/trainable_parameters") or 0.0)
    if key.endswith("unfreeze"):
        return sorted(trained, key=lambda value: (np.mean(trained[value]), value))
    try:
        return sorted(trained, key=float)
    except ValueError:
        return []
