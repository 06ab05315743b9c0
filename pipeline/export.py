"""Export a classifier to other formats with `python -m pipeline.export [MODEL] --format saved_model,onnx`."""

import argparse
import sys
from pathlib import Path

from pipeline.config.help import CommandParser
from pipeline.deployment.exports.formats import FORMATS
from pipeline.system.cli import run_command
from pipeline.system.errors import PipelineError
from pipeline.system.noise import tensorflow_import
from pipeline.system.terminal import waiting


def main() -> None:
    """Export a classifier to other formats; files are written only if all predict the same as the classifier."""
    parser = CommandParser(
        "export",
        main.__doc__,
        examples=["", "--format saved_model,onnx --out exports", "models:/classifier@champion export.tolerance=1e-3"],
        keys=["export"],
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="MODEL | key=value",
        help="a .keras file, a folder that contains one, runs:/<id>/model or models:/<name>@<alias> "
        "(default: that of outputs/, or else the one that compare recommends); and overrides of the configuration, such "
        "as export.tolerance=1e-3",
    )
    parser.add_argument(
        "--format",
        type=_formats,
        default=["saved_model"],
        metavar="LIST",
        help=f"formats, separated by commas, from {', '.join(FORMATS)} (default: saved_model)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("exports"),
        metavar="DIR",
        help="output folder (default: exports)",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="folder of images for the comparison (default: test images of the experiment)",
    )
    run_command(export, parser.parse_intermixed_args())


def export(args: argparse.Namespace) -> None:
    """Find the classifier, load it, and export it; see `python -m pipeline.export --help`.

    Raises:
        PipelineError: The classifier does not exist, several are given, or an export fails.
    """
    from pipeline.config.compose import configuration, is_override
    from pipeline.deployment.find_model import announce, find_model
    from pipeline.tracking.classifier_files import run_of

    models = [word for word in args.words if not is_override(word)]
    if len(models) > 1:
        raise PipelineError(f"several classifiers were given: {', '.join(models)}; export them one at a time")
    config = configuration([word for word in args.words if is_override(word)])
    with waiting("finding the classifier"):
        reference = find_model(models[0] if models else None, config)
    # TensorFlow takes seconds to import, so it is imported only after the classifier is found.
    with tensorflow_import():
        from pipeline.deployment.classifier import load
        from pipeline.deployment.exports.export import export_classifier, print_summaries
        from pipeline.deployment.exports.parity import experiment_sample, folder_sample

        for name in args.format:
            # A missing library is reported before the classifier is loaded.
            FORMATS[name].implementation()

    with waiting(f"exporting {reference.origin} to {', '.join(args.format)}, and comparing predictions"):
        classifier = load(reference)
        if not models:
            announce(reference, classifier.classes)
        if args.images:
            sample = folder_sample(args.images, classifier.classes, config.export)
        else:
            sample = experiment_sample(reference, classifier.classes, config)
        summaries = export_classifier(classifier, args.format, sample, margins=config.export, folder=args.out)
    print_summaries(summaries)
    if run_id := run_of(reference):
        from pipeline.tracking.store import log_exports

        log_exports(config.tracking, run_id, summaries)
    print(f"The exported models are in {args.out}", file=sys.stderr)


def _formats(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in FORMATS]:
        raise argparse.ArgumentTypeError(
            f"unknown format {', '.join(map(repr, unknown))}; expected one or more of {', '.join(FORMATS)}"
        )
    return names


if __name__ == "__main__":
    main()
