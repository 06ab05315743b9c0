"""The comparison as a table: in the terminal, and as CSV."""

import sys

import pandas as pd
from rich.console import Console
from rich.table import Table

from pipeline.comparison.best import reason
from pipeline.comparison.experiments import Selection
from pipeline.comparison.ranking import Ranking
from pipeline.comparison.rows import COSTS
from pipeline.system.errors import PipelineError
from pipeline.visuals.pages import p_value

# Beside the figure asked for, from MLflow.
OTHERS = ("accuracy", "macro_f1", "loss", "ece")


def letters(evidence: Ranking, place: int) -> str:
    """The groups that a row is in: A is that of the best. Rows that share one can't be told apart."""
    return " ".join(_letter(number) for number, group in enumerate(evidence.groups) if place in group)


def as_frame(evidence: Ranking) -> pd.DataFrame:
    """All that is known of each row, best first: rank, settings that differ, the figure with its interval, seeds, tests, costs, run ids."""
    rows = []
    for place, each in enumerate(evidence.judged):
        row = each.row
        told = {"rank": place + 1, **row.differences}
        told |= each.estimate.named(evidence.metric)
        told |= {"seeds": len(row.experiments), "spread": each.spread}
        told |= {"groups": letters(evidence, place), "p_against_best": evidence.p[0, place]}
        told |= {f"test/{name}": row.mean(f"test/{name}") for name in OTHERS if name != evidence.metric}
        told |= {name: row.mean(name) for name in COSTS.values()}
        rows.append(told | {"runs": " ".join(run.run_id for run in row.experiments)})
    return pd.DataFrame(rows)


def as_table(evidence: Ranking, chosen: int | None) -> Table:
    """What the terminal shows; `chosen` is the place of the row that the rule picks."""
    keys = list(evidence.judged[0].row.differences) or ["run"]
    columns = [*(key.removesuffix(".name") for key in keys), evidence.metric, "interval", "groups", "p against best"]
    table = Table("", *columns, "seeds", "size", "trained", "latency", "training", box=None, header_style="bold")
    for place, each in enumerate(evidence.judged):
        row = each.row
        settings = list(row.differences.values()) or [row.label]
        spread = f" ± {each.spread:.4f}" if each.spread is not None else ""
        table.add_row(
            str(place + 1),
            *settings,
            f"{each.estimate.value:.4f}{spread}",
            f"{each.estimate.low:.4f} to {each.estimate.high:.4f}",
            letters(evidence, place),
            p_value(evidence.p[0, place]) if place else "",
            str(len(row.experiments)),
            *(told_cost(name, row.mean(COSTS[name])) for name in ("size", "trainable", "latency", "training")),
            style="bold green" if place == chosen else None,
        )
    return table


def print_comparison(evidence: Ranking, selection: Selection, chosen: int | None, cost: str) -> None:
    """The table on standard output, with what was left out and what the rule picks."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(as_table(evidence, chosen))
    console.print(
        f"\n{evidence.images} test images. Models that share a letter can't be told apart (Holm-corrected p at least "
        f"{1 - evidence.confidence:.2g}); interval of {evidence.confidence:.0%}; ± standard deviation over seeds."
    )
    for digest, runs in selection.elsewhere.items():
        names = ", ".join(run.name for run in runs[:3])
        console.print(
            f"Not compared, since tested on other images ({digest[:8] or 'unknown'}): {names}"
            + f" and {len(runs) - 3} more" * (len(runs) > 3),
            style="yellow",
        )
    if chosen is not None:
        console.print(f"Take {evidence.judged[chosen].row.label}. {reason(evidence, chosen, cost)}", highlight=False)


def print_best(evidence: Ranking, _: Selection, chosen: int | None, cost: str) -> None:
    """The winner: run ids on standard output, for other programs; what it is and why on standard error.

    Raises:
        PipelineError: no run says what it costs.
    """
    if chosen is None:
        raise PipelineError(f"None of the best models says what it takes ({COSTS[cost]} in MLflow); run them again")
    won = evidence.judged[chosen]
    print(" ".join(run.run_id for run in won.row.experiments))
    told = f"{won.row.label}: {evidence.metric} {won.estimate.value:.4f} ({won.estimate.low:.4f} to {won.estimate.high:.4f})"
    print(f"{told}. {reason(evidence, chosen, cost)}", file=sys.stderr)


def told_cost(name: str, value: float | None) -> str:
    """A cost in its unit."""
    if value is None:
        return "?"
    if name == "trainable":
        return f"{value / 1e6:.2f} M" if value >= 1e5 else f"{value:,.0f}"
    return {"size": f"{value:.1f} MiB", "latency": f"{value:.1f} ms", "training": f"{value:.0f} s"}[name]


def _letter(number: int) -> str:
    letter, round_ = chr(ord("A") + number % 26), number // 26
    return letter + (str(round_) if round_ else "")
