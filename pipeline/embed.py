"""Write vectors of images to a Parquet file with `python -m pipeline.embed [MODEL] [PATHS...] [overrides]`."""

import argparse
import sys
from pathlib import Path

from pipeline.config.help import CommandParser
from pipeline.system.cli import run_command
from pipeline.system.noise import tensorflow_import
from pipeline.system.terminal import waiting


def main() -> None:
    """Write one vector per image to a Parquet file, for search, clustering or other software.

    A vector is the input of the classifier's last layer: the pooled features of a backbone, float32.
    """
    parser = CommandParser(
        "embed",
        main.__doc__,
        examples=[
            "dataset=folder dataset.path=/data/flowers backbone=efficientnet_lite1",
            "photos/ --out photos.parquet",
            "outputs photos/ 'more/**/*.jpg'",
        ],
        keys=["dataset.path", "image_size", "hardware.precision"],
    )
    parser.usage = "%(prog)s [MODEL] [PATHS ...] [--out FILE] [key=value ...]"
    parser.epilog = (
        "MODEL is a .keras file, a folder that contains one, runs:/<id>/model or models:/<name>@<alias>\n"
        "(default: the configured pretrained backbone). PATHS are files, folders, quoted glob patterns,\n"
        "or - to read paths from standard input (default: the configured data set, or that of MODEL).\n"
        "Columns: path, label and split where they are known, error of an unreadable file, vector."
    )
    parser.add_argument("words", nargs="*", metavar="[MODEL] PATHS", help="network, images and overrides; see below")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        default=Path("embeddings.parquet"),
        help="output file (default: embeddings.parquet)",
    )
    run_command(embed, parser.parse_intermixed_args())


def embed(args: argparse.Namespace) -> None:
    """Find the network and the images, and write their vectors; see `python -m pipeline.embed --help`.

    Raises:
        PipelineError: The configuration is invalid, or the network or the images of its experiment are not there.
    """
    from pipeline.config.compose import configuration, is_override
    from pipeline.deployment.find_model import find_model, is_model

    config = configuration([word for word in args.words if is_override(word)])
    words = [word for word in args.words if not is_override(word)]
    model = words.pop(0) if words and is_model(words[0]) else None
    # MLflow takes seconds to import, so it is imported only after the configuration is checked.
    from pipeline.deployment.training_data import experiment_of
    from pipeline.jobs.networks import check_networks
    from pipeline.jobs.run_stages import run_for_command
    from pipeline.jobs.stage import places_of

    prepared = None
    if model:
        with waiting("finding the classifier"):
            reference = find_model(model, config)
            if not words:
                config, prepared = experiment_of(reference, config)
    else:
        check_networks([config])
        prepared = None if words else run_for_command("embed", "prepare", config) / "prepare"
    with tensorflow_import():
        from pipeline.deployment.embedder import Embedder
        from pipeline.deployment.embeddings import embed_data_set, embed_files
        from pipeline.deployment.predictions import PassedOver, expand_paths

    with waiting("loading the network"):
        embedder = Embedder.of_classifier(reference.file, config) if model else Embedder.of_backbone(config)
    if prepared:
        embed_data_set(prepared, embedder, places_of(config), args.out)
    else:
        passed_over = PassedOver()
        failed = embed_files(expand_paths(words, passed_over), embedder, args.out)
        for line in passed_over.lines() + [f"{failed} files could not be read; see the column error"] * bool(failed):
            print(line, file=sys.stderr)
    print(f"Vectors of {embedder.width} values: {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
