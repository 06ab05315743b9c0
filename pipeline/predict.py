"""Predict the classes of images with `python -m pipeline.predict [MODEL] PATHS...`."""

import argparse
import os
import sys
from glob import has_magic
from pathlib import Path

from pipeline.config.help import CommandParser
from pipeline.system.cli import add_neighbours, run_command, whole_number
from pipeline.system.errors import PipelineError
from pipeline.system.noise import tensorflow_import
from pipeline.system.terminal import waiting
from pipeline.system.wording import some


def main() -> None:
    """Predict the classes of images, one row per image; a file that can't be read gets an error instead of a class."""
    parser = CommandParser(
        "predict",
        main.__doc__,
        examples=[
            "photos/",
            "models:/classifier@champion 'photos/**/*.jpg' --top 3 --format table",
            "outputs/train/model.keras photos/ --out predictions.csv --html least_confident.html",
        ],
    )
    parser.usage = "%(prog)s [MODEL] PATHS... [options]"
    parser.epilog = (
        "MODEL is a .keras file, a folder that contains one, runs:/<id>/model or models:/<name>@<alias>\n"
        "(default: that of outputs/, or else the one that compare recommends). PATHS are files,\n"
        "folders, quoted glob patterns, or - to read paths from standard input."
    )
    parser.add_argument("words", nargs="+", metavar="[MODEL] PATHS", help="the classifier and the images; see below")
    parser.add_argument(
        "--format", choices=["csv", "jsonl", "table"], default="csv", help="output format (default: csv)"
    )
    parser.add_argument("--out", "--output", type=Path, metavar="FILE", help="output file (default: standard output)")
    parser.add_argument(
        "--top",
        type=whole_number(1),
        default=1,
        metavar="K",
        help="number of most probable classes per image (default: 1)",
    )
    add_neighbours(parser)
    parser.add_argument(
        "--batch-size",
        type=whole_number(1),
        default=64,
        metavar="N",
        help="images per batch (default: 64); with 1, each path on standard input is predicted immediately",
    )
    parser.add_argument(
        "--tta",
        choices=["none", "flip", "crops", "flip_crops"],
        default="none",
        help="test-time augmentation: mean over the image and its mirror image (flip, 2 passes), over the image and five "
        "crops (crops, 6 passes), or over both (flip_crops, 12 passes); default: none",
    )
    parser.add_argument("--gradcam", type=Path, metavar="DIR", help="write a Grad-CAM heat map of each image to DIR")
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write a gallery of the least confident predictions, with heat maps, to FILE",
    )
    try:
        run_command(predict, parser.parse_intermixed_args())
    except BrokenPipeError:
        # The reader has closed the pipe. Without this line, Python would fail again when it flushes the stream at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def predict(args: argparse.Namespace) -> None:
    """Find the classifier, load it, and predict images; see `python -m pipeline.predict --help`.

    Raises:
        PipelineError: The classifier does not exist, no images are given, or none of the files and folders exists.
    """
    from pipeline.config.compose import configuration
    from pipeline.deployment.find_model import announce, find_model, is_model

    words = list(args.words)
    model = words.pop(0) if is_model(words[0]) else None
    if not words:
        raise PipelineError(
            f"{model} was taken as the model, and no images were given; add files, folders, glob patterns, or - to read "
            "paths from standard input"
        )
    config = configuration()
    with waiting("finding the classifier"):
        reference = find_model(model, config)
        experiment = None
        if args.neighbours:
            from pipeline.deployment.training_data import experiment_of

            experiment = experiment_of(reference, config)
    if all(word != "-" and not has_magic(word) and not Path(word).exists() for word in words):
        raise PipelineError(f"{some(words)}: no such file or folder; give files, folders, quoted glob patterns, or -")
    # TensorFlow takes seconds to import, so it is imported only after the classifier and images are found.
    with tensorflow_import():
        from pipeline.deployment.classifier import load
        from pipeline.deployment.prediction_output import Outputs, predict_files
        from pipeline.deployment.predictions import PassedOver

    outputs = Outputs(args.out, args.format, args.top, args.neighbours, heatmaps=args.gradcam, gallery=args.html)
    passed_over = PassedOver()
    nearest = None
    if experiment:
        # It sets the threads of TensorFlow, and so comes first.
        from pipeline.deployment.neighbours import NeighbourSearch

        nearest = NeighbourSearch.of_classifier(reference.file, *experiment, args.neighbours)
    with waiting("loading the classifier"):
        classifier = load(reference, args.tta)
    if model is None:
        announce(reference, classifier.classes)
    failed = predict_files(words, classifier, outputs, args.batch_size, passed_over, nearest)
    for line in passed_over.lines():
        print(line, file=sys.stderr)
    if failed:
        print(f"{failed} files could not be read; see the column error", file=sys.stderr)


if __name__ == "__main__":
    main()
