"""Compare experiments on the same test images: `python -m pipeline.compare`."""

import argparse
from pathlib import Path

from pipeline.storage.files import whole_file
from pipeline.system.cli import run_command


def main() -> None:
    """Compare complete experiments on the same test images: table, intervals, tests, and which of them the data can't tell apart."""
    run_command(compare, _arguments())


def compare(given: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        PipelineError: there is nothing to compare, or the test images differ.
    """
    # Seconds to import, and --help needs none of it.
    from pipeline.comparison.best import winner
    from pipeline.comparison.experiments import find, select
    from pipeline.comparison.page import write_comparison
    from pipeline.comparison.ranking import rank
    from pipeline.comparison.rows import make_rows
    from pipeline.comparison.table import as_frame, print_best, print_comparison
    from pipeline.config.compose import configuration

    config = configuration(given.overrides)
    found = find(config.tracking, given.filter, given.sweep, given.runs)
    selection = select(found, strict=given.runs is not None, test=given.test)
    evidence = rank(make_rows(selection.experiments), given.metric, config.evaluate.top_k, config.evaluate.confidence)
    chosen = winner(evidence, given.cost)
    tell = print_best if given.best else print_comparison
    tell(evidence, selection, chosen, given.cost)
    if given.csv:
        with whole_file(given.csv) as unfinished:
            as_frame(evidence).to_csv(unfinished, index=False)
    if given.html:
        write_comparison(given.html, evidence, selection, chosen, given.cost)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.compare", description=main.__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--filter", help="MLflow's filter, such as \"params.`backbone.name` = 'vgg16'\"")
    choice.add_argument(
        "--sweep", nargs="?", const="", help="a sweep's jobs: a part of its command line; alone, the latest sweep"
    )
    choice.add_argument("--runs", nargs="+", metavar="ID", help="these MLflow runs")
    parser.add_argument(
        "--metric", default="accuracy", choices=["accuracy", "macro_f1", "balanced_accuracy", "auc", "loss", "brier", "top_k"], help="to sort and test by (accuracy)"
    )  # fmt: skip
    parser.add_argument(
        "--cost", default="size", choices=["size", "trainable", "latency", "training"], help="what --best keeps low (size)"
    )  # fmt: skip
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", nargs="?", const=Path("compare.html"), help="write the page (compare.html)"
    )
    parser.add_argument(
        "--best", action="store_true", help="name the winner only: the cheapest model that can't be told apart from the best"
    )  # fmt: skip
    parser.add_argument(
        "--test",
        metavar="DIGEST",
        help="the test images, by the start of their digest (the newest ones of two configurations or more)",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of the configuration, such as tracking.uri=..."
    )
    given = parser.parse_args()
    if given.runs:
        # It takes all that follows.
        given.overrides += [each for each in given.runs if "=" in each]
        given.runs = [each for each in given.runs if "=" not in each]
    return given


if __name__ == "__main__":
    main()
