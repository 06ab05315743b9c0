"""Write a classifier in other formats: `python -m pipeline.export [MODEL] --format saved_model,tflite,tflite_int8,onnx`"""

import argparse
import sys
from pathlib import Path

from pipeline.system.cli import run_command

FORMATS = ("saved_model", "tflite", "tflite_int8", "onnx")


def main() -> None:
    """Write a classifier in other formats, after each has answered as the classifier does from the same files' bytes; else nothing is written."""
    run_command(export, _arguments())


def export(given: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        PipelineError: there is no such classifier, or an export fails.
    """
    # Seconds to import, and --help needs none of it.
    from rich.console import Console

    from pipeline.config.compose import configuration
    from pipeline.deployment.classifier import load
    from pipeline.deployment.exports.export import as_table, export
    from pipeline.deployment.exports.sample import folder_sample, own_sample, run_of
    from pipeline.deployment.find_model import find_model

    config = configuration(given.overrides)
    found = find_model(given.model, config)
    classifier = load(found)
    counts = config.export.images, config.export.int8_images
    if given.images:
        sample = folder_sample(given.images, classifier.classes, *counts)
    else:
        sample = own_sample(found, classifier.classes, config.tracking, *counts)
    results = export(classifier, given.format, sample, config.export, given.out)
    Console(width=None if sys.stdout.isatty() else 160).print(as_table(results))
    run_id = run_of(found)
    if run_id:
        from pipeline.tracking import log_exports

        log_exports(config.tracking, run_id, results)
    print(f"Written: {given.out}", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.export", description=main.__doc__)
    parser.add_argument(
        "words", nargs="*", metavar="MODEL | key=value",
        help="a .keras file, a folder that holds one, runs:/<id>/model or models:/<name>@<alias> (this checkout's best); "
        "and overrides of the configuration, such as export.tolerance=1e-3",
    )  # fmt: skip
    parser.add_argument(
        "--format",
        type=_formats,
        default=["saved_model"],
        metavar="LIST",
        help=f"of {', '.join(FORMATS)} (saved_model)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("exports"), metavar="DIR", help="what the formats are written into (exports)"
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="compare on these instead of on the experiment's test images"
    )
    given = parser.parse_intermixed_args()
    models = [word for word in given.words if not _is_override(word)]
    if len(models) > 1:
        parser.error(f"one classifier at a time, not {' and '.join(models)}")
    given.model, given.overrides = (models or [None])[0], [word for word in given.words if _is_override(word)]
    return given


def _is_override(word: str) -> bool:
    from pipeline.config.compose import is_override

    return is_override(word)


def _formats(given: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in given.split(",")))
    wrong = [name for name in names if name not in FORMATS]
    if wrong:
        raise argparse.ArgumentTypeError(
            f"{', '.join(map(repr, wrong))} is not allowed; it takes some of {', '.join(FORMATS)}"
        )
    return names


if __name__ == "__main__":
    main()
