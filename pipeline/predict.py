"""Predict images with a classifier: `python -m pipeline.predict [MODEL] PATHS...`."""

import argparse
import os
import sys
from pathlib import Path

from pipeline.system.cli import run_command, whole_number
from pipeline.system.errors import PipelineError


def main() -> None:
    """Predict images: one row per image, in order; a file that can't be read gets a reason instead of a class."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.predict",
        description=main.__doc__,
        usage="%(prog)s [MODEL] PATHS... [options]",
        epilog="MODEL, where it is given, is a .keras file, a folder that holds one, runs:/<id>/model or models:/<name>@<alias>; "
        "without it, this checkout's best classifier predicts. PATHS are files, folders, patterns in quotes ('photos/**/*.jpg'), "
        "or - for a list on standard input.",
    )
    parser.add_argument("words", nargs="+", metavar="[MODEL] PATHS", help="the classifier and the images; see below")
    parser.add_argument("--format", choices=["csv", "jsonl", "table"], default="csv", help="of the rows (csv)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write rows here instead of to standard output")
    parser.add_argument(
        "--top", type=whole_number(1), default=1, metavar="K", help="name the K most probable classes (1)"
    )
    parser.add_argument(
        "--batch-size",
        type=whole_number(1),
        default=64,
        metavar="N",
        help="images predicted at once (64); with 1, a list on standard input is answered line by line",
    )
    parser.add_argument(
        "--tta",
        choices=["none", "flip", "crops", "flip_crops"],
        default="none",
        help="the mean over the image and its mirror image (2 passes), five crops (6), or both (12), instead of one pass",
    )
    parser.add_argument("--gradcam", type=Path, metavar="DIR", help="write a heat map of each image")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a gallery of the least sure predictions, with heat maps"
    )
    try:
        run_command(predict, parser.parse_intermixed_args())
    except BrokenPipeError:
        # The reader has closed the pipe; Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def predict(args: argparse.Namespace) -> None:
    """Find the classifier, load it, and predict; see `python -m pipeline.predict --help`.

    Raises:
        PipelineError: there is no such classifier, or no image is named.
    """
    from pipeline.config.compose import configuration
    from pipeline.deployment.find_model import find_model, is_model

    words = list(args.words)
    model = words.pop(0) if is_model(words[0]) else None
    if not words:
        raise PipelineError(
            f"{model} is the classifier; name images as well: files, folders, patterns, or - for a list"
        )
    reference = find_model(model, configuration())
    # TensorFlow takes seconds to import: only for a classifier that is there.
    from pipeline.deployment.classifier import load
    from pipeline.deployment.prediction_output import Outputs, predict_files

    outputs = Outputs(args.output, args.format, args.top, heatmaps=args.gradcam, gallery=args.html)
    if failed := predict_files(words, load(reference, args.tta), outputs, args.batch_size):
        print(f"{failed} could not be read; see the column error", file=sys.stderr)


if __name__ == "__main__":
    main()
