"""Serve a web page for trying out a classifier with `python -m pipeline.demo [MODEL]`."""

import argparse
import sys
from pathlib import Path

from pipeline.config.help import CommandParser
from pipeline.system.cli import add_neighbours, run_command, whole_number
from pipeline.system.noise import tensorflow_import
from pipeline.system.terminal import waiting


def main() -> None:
    """Serve a web page on this machine that shows the predictions and Grad-CAM heat maps of uploaded images."""
    parser = CommandParser(
        "demo",
        main.__doc__,
        examples=["", "--neighbours 5 --port 8000", "models:/classifier@champion --examples a.jpg b.jpg"],
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a .keras file, a folder that contains one, runs:/<id>/model or models:/<name>@<alias> "
        "(default: that of outputs/, or else the one that compare recommends)",
    )
    parser.add_argument(
        "--examples", type=Path, nargs="+", default=[], metavar="FILE", help="example images shown on the page"
    )
    add_neighbours(parser)
    parser.add_argument(
        "--port", type=whole_number(1, 65535), default=7860, help="port of the web server (default: 7860)"
    )
    run_command(demo, parser.parse_intermixed_args())


def demo(args: argparse.Namespace) -> None:
    """Find the classifier, load it, and serve the page until interrupted; see `python -m pipeline.demo --help`.

    Raises:
        PipelineError: The classifier or its training images do not exist, or an example is not an image.
    """
    from pipeline.config.compose import configuration
    from pipeline.deployment.find_model import announce, find_model

    config = configuration()
    with waiting("finding the classifier"):
        reference = find_model(args.model, config)
        experiment = None
        if args.neighbours:
            from pipeline.deployment.training_data import experiment_of

            experiment = experiment_of(reference, config)
    # TensorFlow takes seconds to import, so it is imported only after the classifier is found.
    with tensorflow_import():
        import uvicorn

        from pipeline.deployment.classifier import load
        from pipeline.deployment.demo import build_page
        from pipeline.deployment.neighbours import NeighbourSearch

    nearest = None
    if experiment:
        # It sets the threads of TensorFlow, and so comes first.
        nearest = NeighbourSearch.of_classifier(reference.file, *experiment, args.neighbours)
    with waiting(f"loading {reference.origin}"):
        classifier = load(reference)
        page = build_page(classifier, args.examples, nearest)
    if not args.model:
        announce(reference, classifier.classes)
    print(f"The demo is at http://127.0.0.1:{args.port}; stop it with Ctrl-C", file=sys.stderr)
    uvicorn.run(page, host="127.0.0.1", port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
