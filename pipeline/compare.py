"""Compare experiments on the same test images with `python -m pipeline.compare`."""

import argparse
import sys
from pathlib import Path

from pipeline.comparison.costs import COSTS
from pipeline.config.help import CommandParser
from pipeline.evaluation.metrics import RANKING_METRICS
from pipeline.storage.files import whole_file
from pipeline.system.cli import add_overrides, add_selection, parse_selection, run_command
from pipeline.system.terminal import waiting


def main() -> None:
    """Compare complete experiments on the same test images with paired tests, and recommend a model."""
    parser = CommandParser(
        "compare",
        main.__doc__,
        examples=["", "--sweep --html", "--runs 1a2b3c4d 5e6f7a8b --metric macro_f1"],
        keys=["tracking.uri", "tracking.experiment", "evaluate.confidence", "evaluate.top_k"],
    )
    add_selection(parser)
    parser.add_argument(
        "--metric", default="accuracy", choices=RANKING_METRICS, help="metric for ranking and tests (default: accuracy)"
    )
    parser.add_argument("--cost", default="size", choices=COSTS, help="cost to minimise among the best (default: size)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to a CSV file")
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        nargs="?",
        const=Path("runs/compare.html"),
        help="write a page with the comparison (default: runs/compare.html)",
    )
    parser.add_argument(
        "--best",
        action="store_true",
        help="print only the recommended model: the cheapest one that does not differ significantly from the best",
    )
    parser.add_argument(
        "--test",
        metavar="DIGEST",
        help="test images to compare on, by the first characters of their digest "
        "(default: the latest ones that two or more configurations share)",
    )
    add_overrides(parser, "tracking.uri=...")
    run_command(compare, parse_selection(parser))


def compare(args: argparse.Namespace) -> None:
    """Rank the experiments, print the result, and write the files; see `python -m pipeline.compare --help`.

    Raises:
        PipelineError: There are no experiments to compare, or their test images differ.
    """
    from pipeline.config.compose import configuration

    config = configuration(args.overrides)
    # These imports take seconds, and --help does not need them.
    with waiting("reading runs from MLflow"):
        from pipeline.comparison.experiments import find, make_rows, select
        from pipeline.comparison.output import as_frame, print_best, print_comparison, write_comparison
        from pipeline.comparison.ranking import rank, winner
        from pipeline.tracking.store import ui_address

        experiments = find(config.tracking, query=args.filter, sweep=args.sweep, run_ids=args.runs)
    with waiting("testing differences"):
        selection = select(experiments, strict=args.runs is not None, test=args.test)
        ranking = rank(make_rows(selection.experiments), args.metric, config.evaluate.top_k, config.evaluate.confidence)
        chosen = winner(ranking, args.cost)
    if args.best:
        print_best(ranking, chosen, args.cost)
    else:
        print_comparison(ranking, selection, chosen, args.cost)
    if args.csv:
        with whole_file(args.csv) as unfinished:
            as_frame(ranking).to_csv(unfinished, index=False)
    if args.html:
        server = ui_address(config.tracking)
        with waiting("drawing the page"):
            write_comparison(args.html, ranking, selection, chosen=chosen, cost=args.cost, server=server)
        print(f"Page: {args.html}", file=sys.stderr)


if __name__ == "__main__":
    main()
