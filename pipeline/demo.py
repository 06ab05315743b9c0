"""A page on this machine to try a classifier on: `python -m pipeline.demo [MODEL]`"""

import argparse
import sys
from pathlib import Path

from pipeline.command import carry_out, whole_number


def main() -> None:
    """Open a page on this machine: drop a picture, see the classes and what the classifier looked at."""
    carry_out(demo, _arguments())


def demo(given: argparse.Namespace) -> None:
    """Do what the command line says; ends when it is interrupted.

    Raises:
        PipelineError: there is no such classifier.
    """
    # Seconds to import, and --help needs none of it.
    import uvicorn

    from pipeline.composition import configuration
    from pipeline.deployment.classifier import load
    from pipeline.deployment.finding import find_model
    from pipeline.deployment.page import build_page

    page = build_page(load(find_model(given.model, configuration())), given.examples)
    print(f"Try it: http://127.0.0.1:{given.port}", file=sys.stderr)
    uvicorn.run(page, host="127.0.0.1", port=given.port, log_level="warning")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo", description=main.__doc__)
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a .keras file, a folder that holds one, runs:/<id>/model or models:/<name>@<alias> (this checkout's best)",
    )
    parser.add_argument(
        "--examples", type=Path, nargs="+", default=[], metavar="FILE", help="pictures to try with a click"
    )
    parser.add_argument("--port", type=whole_number(1, 65535), default=7860, help="(7860)")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()
