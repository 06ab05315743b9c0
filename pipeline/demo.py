"""A page on this machine to try a classifier on: `python -m pipeline.demo [MODEL]`."""

import argparse
import sys
from pathlib import Path

from pipeline.system.cli import run_command, whole_number


def main() -> None:
    """Open a page on this machine: drop an image, see the classes and where the classifier looked."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo", description=main.__doc__)
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a .keras file, a folder that holds one, runs:/<id>/model or models:/<name>@<alias> (this checkout's best)",
    )
    parser.add_argument(
        "--examples", type=Path, nargs="+", default=[], metavar="FILE", help="images to try with a click"
    )
    parser.add_argument("--port", type=whole_number(1, 65535), default=7860, help="(7860)")
    run_command(demo, parser.parse_intermixed_args())


def demo(args: argparse.Namespace) -> None:
    """Find the classifier, load it, and serve the page until interrupted; see `python -m pipeline.demo --help`.

    Raises:
        PipelineError: there is no such classifier, or an example is not an image.
    """
    from pipeline.config.compose import configuration
    from pipeline.deployment.find_model import find_model

    reference = find_model(args.model, configuration())
    # TensorFlow takes seconds to import: only for a classifier that is there.
    import uvicorn

    from pipeline.deployment.classifier import load
    from pipeline.deployment.demo import build_page

    page = build_page(load(reference), args.examples)
    print(f"Try it: http://127.0.0.1:{args.port}", file=sys.stderr)
    uvicorn.run(page, host="127.0.0.1", port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
