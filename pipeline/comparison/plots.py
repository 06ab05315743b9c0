"""The charts of a comparison."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

from pipeline.comparison.best import gains, on_frontier
from pipeline.comparison.experiments import Experiment
from pipeline.comparison.ranking import Ranking
from pipeline.comparison.rows import COSTS
from pipeline.visuals.style import BLUE, INK, SERIES, charting

HISTORIES = ("train/history.csv", "finetune/history.csv")
_COST_WORDS = {
    "trainable": "trainable parameters",
    "training": "training, seconds",
    "latency": "one prediction, milliseconds",
    "size": "model, MiB",
}
_MOST_CURVES, _MOST_AXES = 10, 3


def ranking(evidence: Ranking) -> Figure:
    """Every row's figure with its interval, best on top, and a bar beside each group that the data can't tell apart."""
    count, found = len(evidence.judged), evidence.judged
    with charting(9.5, 1.0 + 0.3 * count) as figure:
        axes = figure.subplots()
        values = np.array([each.estimate.value for each in found])
        ends = np.array([(each.estimate.low, each.estimate.high) for each in found]).T
        axes.errorbar(
            values, range(count), xerr=np.abs(ends - values), fmt="o", color=BLUE, markersize=5, capsize=2.5, linewidth=1.3
        )  # fmt: skip
        for place, each in enumerate(found):
            if each.spread is not None:
                axes.plot(each.by_seed, [place] * len(each.by_seed), "|", color=INK, markersize=7, alpha=0.6)
        for number, group in enumerate(evidence.groups):
            # Beside the axes, in its own lane.
            x = 1.015 + 0.014 * number
            axes.plot(
                [x, x], [min(group) - 0.25, max(group) + 0.25], transform=axes.get_yaxis_transform(), clip_on=False,
                color=SERIES[number % len(SERIES)], linewidth=1, alpha=0.5,
            )  # fmt: skip
            axes.plot(
                [x] * len(group), group, "o", transform=axes.get_yaxis_transform(), clip_on=False,
                color=SERIES[number % len(SERIES)], markersize=4.5,
            )  # fmt: skip
        axes.set_yticks(range(count), [_short(each.row.label) for each in found])
        axes.invert_yaxis()
        axes.set_xlabel(f"{evidence.metric}, interval of {evidence.confidence:.0%}")
        axes.grid(axis="x")
        return figure


def frontiers(evidence: Ranking) -> Figure | None:
    """The figure against each cost, and the models that nothing beats in both; None where no run says what it costs."""
    found, better = evidence.judged, gains(evidence)
    costs = {name: [each.row.mean(key) for each in found] for name, key in COSTS.items()}
    costs = {name: values for name, values in costs.items() if None not in values}
    if not costs or len(found) < 2:
        return None
    with charting(9.5, 3.0 * -(-len(costs) // 2)) as figure:
        grid = figure.subplots(-(-len(costs) // 2), 2, squeeze=False)
        for axes, (name, values) in zip(grid.flat, costs.items(), strict=False):
            heights = [each.estimate.value for each in found]
            axes.plot(values, heights, "o", color=INK, alpha=0.35, markersize=5)
            best = on_frontier(values, better)
            axes.plot([values[p] for p in best], [heights[p] for p in best], "o", color=BLUE, markersize=6)
            axes.step(
                [values[p] for p in best] + [max(values)], [heights[p] for p in best] + [heights[best[-1]]],
                where="post", color=BLUE, linewidth=1.2, alpha=0.7,
            )  # fmt: skip
            for place in best:
                axes.annotate(
                    str(place + 1), (values[place], heights[place]), textcoords="offset points", xytext=(5, -11), fontsize=8
                )  # fmt: skip
            if min(values) > 0 and max(values) > 10 * min(values):
                axes.set_xscale("log")
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.set(xlabel=_COST_WORDS[name], ylabel=evidence.metric)
            axes.margins(x=0.08, y=0.12)
            axes.grid()
        for axes in list(grid.flat)[len(costs) :]:
            axes.set_visible(False)
        return figure


def sweep_axes(evidence: Ranking) -> dict[str, Figure]:
    """For each setting that was swept: the figure along it, one line for each choice of the others, intervals as bands."""
    keys = list(evidence.judged[0].row.differences)
    swept = [key for key in keys if key.endswith("unfreeze") or _numeric(evidence, key)][:_MOST_AXES]
    if not swept:
        return {}
    return {key: figure for key in swept if (figure := _along(evidence, key, [each for each in keys if each != key]))}


def _along(evidence: Ranking, key: str, others: list[str]) -> Figure | None:
    ticks = _ordered_values(evidence, key)
    lines: dict[str, list] = {}
    for each in evidence.judged:
        settings = each.row.differences
        name = ", ".join(
            settings[other] if other.endswith(".name") else f"{other.rpartition('.')[2]} {settings[other]}"
            for other in others
        )
        lines.setdefault(name, []).append((ticks.index(settings[key]), each.estimate))
    if not any(len(points) > 1 for points in lines.values()):
        return None
    with charting(7.5, 3.6) as figure:
        axes = figure.subplots()
        for number, (name, points) in enumerate(sorted(lines.items())):
            colour = SERIES[number % len(SERIES)]
            points.sort(key=lambda point: point[0])
            x = [place for place, _ in points]
            axes.fill_between(
                x, [e.low for _, e in points], [e.high for _, e in points], color=colour, alpha=0.16, linewidth=0
            )
            axes.plot(x, [e.value for _, e in points], "o-", color=colour, markersize=5, label=name or evidence.metric)
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set(xlabel=key, ylabel=evidence.metric)
        axes.grid()
        if any(lines):
            figure.legend(loc="outside right upper", fontsize=8)
        return figure


def learning_curves(evidence: Ranking) -> Figure | None:
    """Validation accuracy and loss by epoch, the best rows' runs overlaid; a ring marks where fine-tuning begins."""
    shown = evidence.judged[:_MOST_CURVES]
    histories = [[history for run in each.row.experiments if (history := _history(run))] for each in shown]
    if not any(histories):
        return None
    with charting(9.5, 3.8 + 0.17 * len(shown)) as figure:
        for axes, name in zip(figure.subplots(1, 2), ("val_accuracy", "val_loss"), strict=True):
            for number, (each, runs) in enumerate(zip(shown, histories, strict=True)):
                for index, (train, finetune) in enumerate(runs):
                    both, colour = pd.concat([train, finetune]), SERIES[number % len(SERIES)]
                    axes.plot(
                        both["epoch"], both[name], color=colour, linewidth=1.2, alpha=0.85,
                        label=_short(each.row.label) if index == 0 else None,
                    )  # fmt: skip
                    first = finetune.iloc[0]
                    axes.plot(first["epoch"], first[name], "o", markersize=5, markerfacecolor="none", color=colour)
            axes.set(title=name.replace("val_", "validation "), xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid()
        figure.axes[1].set_yscale("log")
        for formatter in (figure.axes[1].yaxis.set_major_formatter, figure.axes[1].yaxis.set_minor_formatter):
            # The usual one writes formulas, which charts here take for text.
            formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
        return figure


def _history(run: Experiment) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Both phases' epochs; None where the run has lost them."""
    files = [run.file(path) for path in HISTORIES]
    return None if None in files else tuple(pd.read_csv(file) for file in files)


def _numeric(evidence: Ranking, key: str) -> bool:
    return all(_is_number(each.row.differences[key]) for each in evidence.judged)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _ordered_values(evidence: Ranking, key: str) -> list[str]:
    """The values of a setting from small to large; of an unfreeze depth, from few to many trained parameters."""
    values = {each.row.differences[key] for each in evidence.judged}
    if key.endswith("unfreeze"):
        trained: dict[str, list[float]] = {value: [] for value in values}
        for each in evidence.judged:
            trained[each.row.differences[key]].append(each.row.mean("finetune/trainable_parameters") or 0.0)
        return sorted(values, key=lambda value: (np.mean(trained[value]), value))
    return sorted(values, key=float)


def _short(text: str, most: int = 46) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
