"""Output of a probe: a table in the terminal, a page, a CSV file, and metrics for MLflow."""

from pathlib import Path
from typing import TextIO

from rich.table import Table

from pipeline.config.size import size_text
from pipeline.probing.ranking import Ranking, Row
from pipeline.storage.files import whole_file
from pipeline.system.terminal import table_console
from pipeline.visuals.pages import p_value, scale, write_page

_COSTS = ("ms per image", "weights, MiB", "multiply-adds, M", "features")


def print_ranking(ranking: Ranking, *, file: TextIO | None = None) -> None:
    """Print the ranking, and the recommended backbone with the reason."""
    columns = ("backbone", "image size", "accuracy", "interval", "groups", "p against best", "neighbours", *_COSTS)
    table = Table("", *columns, box=None, header_style="bold")
    for index, row in enumerate(ranking.rows):
        table.add_row(
            str(index + 1),
            row.measurement.backbone,
            _size(row),
            f"{row.accuracy.value:.4f}",
            f"{row.accuracy.low:.4f} to {row.accuracy.high:.4f}",
            row.letters,
            p_value(row.p) if index else "",
            f"{row.measurement.neighbour_accuracy:.4f}",
            *_costs(row),
            style="bold green" if index == ranking.chosen else None,
        )
    console = table_console(file)
    console.print(table)
    chosen = ranking.rows[ranking.chosen].measurement
    console.print(f"\n{explanation(ranking)}", highlight=False)
    console.print(f"Recommended: {chosen.backbone}. {ranking.reason}", highlight=False)


def explanation(ranking: Ranking) -> str:
    """Return how the numbers were measured."""
    return (
        f"Accuracy of a linear probe on frozen features, out of fold, on {ranking.images} training and validation images, with its "
        f"{100 * ranking.confidence:.4g} % confidence interval. Backbones that share a letter do not differ significantly (McNemar's exact "
        "test, Holm-corrected). Neighbours: accuracy of a vote of the five nearest images."
    )


def _size(row: Row) -> str:
    return size_text(row.measurement.config.image_size).removesuffix(" px")


def _costs(row: Row) -> list[str]:
    own = row.measurement
    return [f"{own.milliseconds:.2f}", f"{own.weights_mib:.1f}", f"{own.macs / 1e6:,.0f}", f"{own.features:,}"]


def write_files(ranking: Ranking, folder: Path, dataset: str) -> list[Path]:
    """Write probe.html and probe.csv to `folder`, and return their paths.

    Args:
        ranking: Ranking to write.
        folder: Output folder.
        dataset: Name of the data set, for the page's title.
    """
    page, table = folder / "probe.html", folder / "probe.csv"
    with whole_file(table) as unfinished:
        ranking.as_frame().to_csv(unfinished, index=False)
    estimates = [row.accuracy for row in ranking.rows]
    write_page(
        "probe.html",
        page,
        wide=True,
        title=f"Backbones for {dataset}",
        ranking=ranking,
        explanation=explanation(ranking),
        ends=scale(min(each.low for each in estimates), max(each.high for each in estimates)),
        costs=_COSTS,
        rows=[(row, _size(row), _costs(row)) for row in ranking.rows],
    )
    return [page, table]


def metrics(ranking: Ranking) -> dict[str, float]:
    """Return the metrics of the ranking by their names in MLflow, such as `probe/vgg16/accuracy`."""
    named = ("accuracy", "accuracy_low", "accuracy_high", "neighbour_accuracy", "milliseconds", "multiply_adds")
    return {
        f"probe/{record['backbone']}/{name}": record[name]
        for record in ranking.as_frame().to_dict("records")
        for name in named
    }
