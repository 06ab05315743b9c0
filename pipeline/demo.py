"""A page on this machine to try a classifier on: `python -m pipeline.demo [MODEL]`"""

import argparse
import sys
from pathlib import Path

from pipeline.system.cli import run_command, whole_number


def main() -> None:
    """Open a page on this machine: drop an image, see the classes and what the classifier looked at."""
    run_command(demo, _arguments())


def demo(given: argparse.Namespace) -> None:
    """Do what the command line says; ends when it is interrupted.

    Raises:
        PipelineError: there is no such classifier.
    """
    # Seconds to import, and --help needs none of it.
    import uvicorn

    from pipeline.config.compose import configuration
    from pipeline.deployment.classifier import load
    from pipeline.deployment.demo import build_page
    from pipeline.deployment.find_model import find_model

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
        "--examples", type=Path, nargs="+", default=[], metavar="FILE", help="images to try with a click"
    )
    parser.add_argument("--port", type=whole_number(1, 65535), default=7860, help="(7860)")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()
