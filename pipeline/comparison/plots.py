"""Charts of a comparison, in which each value of the main setting has its colour, and rows are named by their ranks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullFormatter

from pipeline.comparison.costs import COSTS
from pipeline.comparison.experiments import Experiment, describe
from pipeline.comparison.ranking import Ranking
from pipeline.evaluation.metrics import Estimate
from pipeline.visuals.style import INK, PANEL, SERIES, Chart, charting

_MAX_CURVES, _MAX_AXES = 10, 3
# Lines of rows that share a colour.
_DASHES = ("-", "--", ":", "-.")
# Costs that differ by less, relatively, are the same.
_SAME = 0.01
# Letters that fit below a chart.
_LETTERS = 44


def row_colours(ranking: Ranking) -> list[str]:
    """Return a colour for each row: that of its value of the main setting, or its own if each row has another value."""
    values = [next(iter(each.row.differences.values()), "") for each in ranking.rows]
    order = {value: SERIES[number % len(SERIES)] for number, value in enumerate(dict.fromkeys(values))}
    return [order[value] for value in values]


def cost_charts(ranking: Ranking) -> list[Chart]:
    """Draw the metric against each cost that is known and differs, with the Pareto front; none for a single row."""
    by_cost = ((cost, [each.row.mean(cost.metric) for each in ranking.rows]) for cost in COSTS.values())
    known = {cost: [value for value in values if value is not None] for cost, values in by_cost if None not in values}
    if len(ranking.rows) < 2:
        return []
    # File sizes of the same network differ by a few bytes.
    known = {cost: values for cost, values in known.items() if max(values) > (1 + _SAME) * min(values)}
    charts = []
    for cost, values in known.items():
        with charting(*PANEL) as figure:
            axes = figure.subplots()
            _draw_front(axes, values, ranking)
            axes.set(xlabel=f"{cost.label}, {cost.unit}" if cost.unit else cost.label, ylabel=ranking.label)
        charts.append(Chart(f"{ranking.label.capitalize()} by {cost.label}", figure))
    return charts


def _draw_front(axes: Axes, costs: list[float], ranking: Ranking) -> None:
    heights = [each.estimate.value for each in ranking.rows]
    front = pareto_front(costs, ranking.gains)
    x, y = [costs[index] for index in front], [heights[index] for index in front]
    axes.step([*x, max(costs)], [*y, y[-1]], where="post", color=INK, linewidth=1.2, alpha=0.5)
    axes.scatter(costs, heights, 30, color=row_colours(ranking))
    for index in front:
        place = (costs[index], heights[index])
        axes.annotate(str(index + 1), place, textcoords="offset points", xytext=(5, -11))
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


def sweep_axes(ranking: Ranking) -> list[Chart]:
    """Draw the metric against each varied setting, one line per combination of the other settings, with intervals."""
    ticks = {key: _ordered_values(ranking, key) for key in ranking.rows[0].row.differences}
    swept = [key for key, values in ticks.items() if values][:_MAX_AXES]
    return [chart for key in swept if (chart := _along(ranking, key, ticks[key]))]


def _along(ranking: Ranking, key: str, ticks: list[str]) -> Chart | None:
    lines: dict[str, list[tuple[int, Estimate]]] = {}
    for each in ranking.rows:
        settings = each.row.differences
        name = describe({other: value for other, value in settings.items() if other != key})
        lines.setdefault(name, []).append((ticks.index(settings[key]), each.estimate))
    if not any(len(points) > 1 for points in lines.values()):
        return None
    legend = []
    with charting(*PANEL) as figure:
        axes = figure.subplots()
        for number, (name, points) in enumerate(sorted(lines.items())):
            colour = SERIES[number % len(SERIES)]
            # Side by side, so that intervals do not overlap.
            shift = 0.4 * ((number + 0.5) / len(lines) - 0.5)
            points.sort(key=lambda point: point[0])
            x, low, value, high = np.array([(place, each.low, each.value, each.high) for place, each in points]).T
            axes.errorbar(
                x + shift, value, [value - low, high - value], fmt="o-", color=colour, markersize=4, elinewidth=1
            )
            legend.append((name or ranking.label, colour))
        # Long values would overlap.
        long = max(map(len, ticks)) * len(ticks) > _LETTERS
        axes.set_xticks(range(len(ticks)), ticks, rotation=90 if long else 0)
        axes.set(ylabel=ranking.label)
        axes.grid()
    return Chart(f"{ranking.label.capitalize()} by {key}", figure, tuple(legend) if any(lines) else ())


def learning_curves(ranking: Ranking) -> list[Chart]:
    """Draw validation accuracy and loss by epoch for the runs of the best rows; rings mark the start of fine-tuning."""
    rows = ranking.rows[:_MAX_CURVES]
    histories = [[history for run in each.row.experiments if (history := _history(run))] for each in rows]
    if not any(histories):
        return []
    colours = row_colours(ranking)
    before = [colours[:index].count(colour) for index, colour in enumerate(colours)]
    legend = tuple((f"{index + 1}: {each.row.label}", colours[index]) for index, each in enumerate(rows))
    charts = []
    for name in ("val_accuracy", "val_loss"):
        with charting(*PANEL) as figure:
            axes = figure.subplots()
            for index, runs in enumerate(histories):
                _draw_history(
                    axes, name, index, runs, colour=colours[index], dashes=_DASHES[before[index] % len(_DASHES)]
                )
            axes.set(xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid()
            if name == "val_loss":
                axes.set_yscale("log")
                for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                    # The default formatter writes TeX formulas, which `charting` does not render.
                    formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        charts.append(Chart(name.replace("val_", "Validation "), figure, legend))
    return charts


History = tuple[pd.DataFrame, pd.DataFrame]


def _draw_history(axes: Axes, name: str, index: int, runs: list[History], *, colour: str, dashes: str) -> None:
    for train, finetune in runs:
        both, first = pd.concat([train, finetune]), finetune.iloc[0]
        axes.plot(both["epoch"], both[name], dashes, color=colour, linewidth=1.2)
        axes.plot(first["epoch"], first[name], "o", markersize=5, markerfacecolor="none", color=colour)
        last = both.iloc[-1]
        axes.annotate(
            str(index + 1), (last["epoch"], last[name]), textcoords="offset points", xytext=(4, -3), color=colour
        )


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
