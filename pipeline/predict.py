"""Ask a classifier about images: `python -m pipeline.predict [MODEL] PATHS...`"""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from pipeline.system.cli import run_command, whole_number
from pipeline.system.errors import PipelineError


def main() -> None:
    """Ask a classifier about images: a row for each, in order, on standard output; what can't be read gets its reason instead of a class."""
    given = _arguments()
    try:
        run_command(predict, given)
    except BrokenPipeError:
        # Whoever reads has seen enough; Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def predict(given: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        PipelineError: there is no such classifier.
    """
    # Seconds to import, and --help needs none of it.
    from pipeline.config.compose import configuration
    from pipeline.deployment.classifier import load
    from pipeline.deployment.find_model import find_model, is_model
    from pipeline.deployment.prediction.gallery import Gallery, HeatmapWriter
    from pipeline.deployment.prediction.output import writer
    from pipeline.deployment.prediction.predictions import STANDARD_INPUT, answers, expand_paths
    from pipeline.system.terminal import progress

    words = list(given.words)
    model = words.pop(0) if is_model(words[0]) else None
    if not words:
        raise PipelineError(
            f"{model} is the classifier; name images as well: files, folders, patterns, or - for a list"
        )
    classifier = load(find_model(model, configuration()), given.tta)
    paths = expand_paths(words)
    total = None
    if STANDARD_INPUT in words:
        # As the file system has them, whatever the locale.
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    else:
        paths = list(paths)
        total = len(paths)
    gallery = Gallery(classifier) if given.html else None
    watching = [gallery] if gallery else []
    if given.gradcam:
        watching.append(HeatmapWriter(given.gradcam, classifier))
    failed = 0
    with ExitStack() as stack:
        stream = stack.enter_context(_stream(given.output))
        write, end = writer(given.format, stream, classifier.classes, given.top)
        advance = stack.enter_context(progress("predicting", total))
        for batch in answers(paths, classifier, given.batch_size):
            write(batch)
            for watch in watching:
                watch(batch)
            failed += sum(bool(each.error) for each in batch)
            advance(len(batch), note=f"{failed} unreadable" if failed else None)
        end()
    if gallery:
        gallery.write(given.html)
    if failed:
        print(f"{failed} could not be read; the column error says why", file=sys.stderr)


def _stream(output: Path | None):
    """Where rows go: a file, whole or not at all, or standard output. A path's bytes come out as they came in."""
    from contextlib import contextmanager, nullcontext

    from pipeline.storage.files import whole_file

    if output is None:
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        return nullcontext(sys.stdout)

    @contextmanager
    def opened():
        with (
            whole_file(output) as unfinished,
            open(unfinished, "w", encoding="utf-8", errors="surrogateescape") as file,
        ):
            yield file

    return opened()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.predict",
        description=main.__doc__,
        usage="%(prog)s [MODEL] PATHS... [options]",
        epilog="MODEL, where it is given, is a .keras file, a folder that holds one, runs:/<id>/model or models:/<name>@<alias>; "
        "without it this checkout's best classifier is asked. PATHS are files, folders, patterns in quotes ('photos/**/*.jpg'), "
        "or - for a list on standard input.",
    )
    parser.add_argument("words", nargs="+", metavar="[MODEL] PATHS", help="the classifier and the images; see below")
    parser.add_argument("--format", choices=["csv", "jsonl", "table"], default="csv", help="of the rows (csv)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write rows here instead of to standard output")
    parser.add_argument(
        "--top", type=whole_number(1), default=1, metavar="K", help="tell the K most probable classes (1)"
    )
    parser.add_argument(
        "--batch-size",
        type=whole_number(1),
        default=64,
        metavar="N",
        help="images asked about at once (64); with 1, a list on standard input is answered line by line",
    )
    parser.add_argument(
        "--tta",
        choices=["none", "flip", "crops", "flip_crops"],
        default="none",
        help="the mean over the image and its mirror image (2 passes), five crops (6), or both (12), instead of one pass",
    )
    parser.add_argument(
        "--gradcam", type=Path, metavar="DIR", help="write what the classifier looked at, an image each"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a gallery of the least sure answers, with heat maps"
    )
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()
