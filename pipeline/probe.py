"""Find the backbone whose features suit the images best with `python -m pipeline.probe [overrides]`."""

import argparse
import sys

from pipeline.config.help import CommandParser
from pipeline.system.cli import add_overrides, parse_with_list, run_command


def main() -> None:
    """Compare pretrained backbones on the training and validation images, in minutes and without a training.

    A linear probe on each backbone's frozen features is cross-validated. Test images are not read. The recommended
    backbone needs the fewest multiply-adds of those that do not differ significantly from the best. The features
    remain in the cache, where phase 1 finds them.
    """
    parser = CommandParser(
        "probe",
        main.__doc__,
        examples=[
            "dataset=folder dataset.path=/data/flowers",
            "--take",
            "--backbones efficientnet_lite0 resnet50_v2 image_size=224",
        ],
        keys=["dataset.path", "image_size", "evaluate.confidence", "hardware.precision", "seed"],
    )
    parser.usage = "%(prog)s [--backbones NAME ...] [--take] [key=value ...]"
    parser.add_argument(
        "--backbones",
        nargs="+",
        metavar="NAME",
        help="backbones to probe (default: all whose weights are on this machine); Keras downloads missing weights",
    )
    parser.add_argument("--take", action="store_true", help="write the recommended backbone into params.yaml")
    add_overrides(parser, "dataset.path=/data/flowers")
    run_command(probe, parse_with_list(parser, "backbones"))


def probe(args: argparse.Namespace) -> None:
    """Prepare the data set, probe the backbones, and show the ranking; see `python -m pipeline.probe --help`.

    Raises:
        PipelineError: The configuration or a name is invalid, weights are not available, or a stage failed.
    """
    from pipeline.config.compose import configuration
    from pipeline.config.params_file import check_backbone_counts, set_backbone
    from pipeline.probing.candidates import candidates

    if args.take:
        check_backbone_counts()
    config, configs = configuration(args.overrides), candidates(args.overrides, args.backbones)
    # MLflow takes seconds to import, so it is imported only after the configuration is checked.
    from pipeline.jobs.networks import check_networks
    from pipeline.jobs.run_stages import run_for_command
    from pipeline.system.noise import tensorflow_import
    from pipeline.tracking.command_runs import log_probe
    from pipeline.tracking.names import dataset_name

    check_networks(configs)
    root = run_for_command("probe", "prepare", config)
    # TensorFlow takes seconds to import, so it is imported only after the data set is prepared.
    with tensorflow_import():
        from pipeline.probing.measurement import measure_all
        from pipeline.probing.output import metrics, print_ranking, write_files
        from pipeline.probing.ranking import rank

    ranking = rank(measure_all(configs, root), config.evaluate.confidence)
    print_ranking(ranking)
    files = write_files(ranking, root.parent, dataset_name(config.dataset))
    print(f"Page: {files[0]}", file=sys.stderr)
    if args.take:
        backbone = ranking.rows[ranking.chosen].measurement.config.backbone
        changed = set_backbone(backbone.name, backbone.weights if backbone.has_weights_file else None)
        print(f"params.yaml {'now has' if changed else 'already had'} backbone {backbone.name}", file=sys.stderr)
    log_probe(config, metrics(ranking), files)


if __name__ == "__main__":
    main()
