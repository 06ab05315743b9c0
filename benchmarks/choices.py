"""Compare the values of one setting over several seeds: run a sweep over them, and print tables of both phases.

python -m benchmarks.choices <folder with train/ and test/> image.resize=stretch,crop,pad --out <folder> --seeds 1 2 3

The tables are in Markdown, with paired tests on the same images. The same command again skips complete jobs.
"""

import argparse
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from hydra.core.override_parser.overrides_parser import OverridesParser

from benchmarks.results import machine
from pipeline.comparison.experiments import Experiment, find
from pipeline.comparison.ranking import CLASSES, PREDICTIONS
from pipeline.config import PHASES, Config
from pipeline.config.compose import configuration
from pipeline.data.sources import list_images
from pipeline.evaluation.intervals import Bootstrap, resampled_estimate
from pipeline.evaluation.metrics import METRICS, hits
from pipeline.evaluation.significance import holm_corrected, resampled_p
from pipeline.jobs.identity import experiment_key
from pipeline.storage.files import read_json
from pipeline.system.paths import CODE

_TITLES = dict(zip(PHASES, ("Phase 1", "Fine-tuned"), strict=True))
# Constants, so that the same runs give the same tables.
_SEED, _RESAMPLES, _CONFIDENCE = 0, 2000, 0.95


def overrides(images: Path, out: Path, own: list[str]) -> list[str]:
    """Return the overrides of all jobs; those of the user win."""
    return [
        "dataset=folder", f"dataset.path={images}", f"cache_folder={out}/cache", f"tracking.uri=sqlite:///{out}/mlflow.db",
        "tracking.log_model=none", "train.label_issues=false", "evaluate.gallery=0", *own,
    ]  # fmt: skip


def check_test_images(config: Config) -> None:
    """Exit if each seed would have other test images, which could not be compared in pairs."""
    split = "validation" if config.dataset.test == "validation" else "test"
    if not any(image.split == split for image in list_images(config.dataset).images):
        sys.exit(f"{config.dataset.path} has no {split} images of its own; add a folder {split}/ with class folders")


def split_overrides(overrides: list[str]) -> tuple[str, list[str], list[str]]:
    """Return the key that has several values, its values, and the other overrides; exit if there is no such key."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    several = [each for each in parsed if each.is_sweep_override()]
    if len(several) != 1:
        sys.exit(f"Give one key several values, such as train.head=softmax,ridge; {len(several)} keys have")
    values = [str(value) for value in several[0].sweep_string_iterator()]
    others = [each.input_line for each in parsed if each is not several[0] and each.input_line]
    return several[0].get_key_element(), values, others


def right(run: Experiment, phase: str) -> pd.Series:
    """Return whether a phase of a run predicts each test image rightly, with label and sha256 as the index."""
    predictions, classes = run.file(PREDICTIONS), run.file(CLASSES)
    assert predictions is not None
    assert classes is not None
    table = pd.read_parquet(predictions, columns=["label", "sha256", f"{phase}_probabilities"])
    labels = pd.Categorical(table["label"], categories=read_json(classes)).codes
    correct = hits(labels, np.stack(table[f"{phase}_probabilities"].to_list()))
    return pd.Series(correct.astype(np.float64), pd.MultiIndex.from_frame(table[["label", "sha256"]])).sort_index()


def table(runs: dict[str, list[Experiment]], phase: str) -> str:
    """Return a Markdown table of one phase.

    Args:
        runs: Runs of each value, in the order of the seeds, all on the same test images.
        phase: Train or finetune.
    """
    by_value = [[right(run, phase) for run in each] for each in runs.values()]
    images = by_value[0][0].index
    assert all(run.index.equals(images) for each in by_value for run in each), "the test images differ"
    # Each image's hits, as a mean over the seeds.
    means = np.stack([np.mean(each, axis=0) for each in by_value], axis=1)
    labels = pd.factorize(images.get_level_values("label"))[0]
    values, replicates = means.mean(axis=0), Bootstrap(labels, _RESAMPLES, _SEED).means(means)
    p = holm_corrected(resampled_p(replicates, values))
    lines = [
        f"### {_TITLES[phase]} ({len(images)} test images)",
        "",
        "| | accuracy | spread | 95 % interval | less the first | p | log loss | ECE | seconds | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for place, (value, each) in enumerate(zip(runs, by_value, strict=True)):
        estimate = resampled_estimate(
            METRICS["accuracy"], float(values[place]), replicates[:, place], labels=labels, confidence=_CONFIDENCE
        )
        cells = (
            value,
            f"{estimate.value:.4f}",
            f"{np.std([seed.mean() for seed in each], ddof=1):.4f}" if len(each) > 1 else "",
            f"{estimate.low:.3f} to {estimate.high:.3f}",
            f"{values[place] - values[0]:+.4f}" if place else "",
            f"{p[place, 0]:.2g}" if place else "",
            *(f"{_mean(runs[value], f'test/{phase}/{name}'):.4f}" for name in ("loss", "ece")),
            f"{_mean(runs[value], f'seconds/{phase}'):.0f}",
            str(len(each)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _mean(runs: list[Experiment], name: str) -> float:
    return float(np.mean([run.all_metrics[name] for run in runs]))


def complete_runs(own: list[str], key: str, values: list[str], seeds: list[int]) -> dict[str, list[Experiment]]:
    """Return the latest complete run of each value and seed."""
    jobs = {
        value: [experiment_key(configuration([*own, f"{key}={value}", f"seed={seed}"])) for seed in seeds]
        for value in values
    }
    keys = {each for several in jobs.values() for each in several}
    found = {run.tags["experiment_key"]: run for run in reversed(find(configuration(own).tracking, keys=keys))}
    return {value: [found[each] for each in several] for value, several in jobs.items()}


def main() -> None:
    """Run the sweep, and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.choices", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder with train/ and test/, each with class folders")
    parser.add_argument("overrides", nargs="+", metavar="key=value", help="overrides, one of them with several values")
    parser.add_argument("--out", type=Path, required=True, help="folder of the jobs, their cache and their store")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="seeds (default: 1 2 3)")
    args = parser.parse_intermixed_args()
    out = args.out.resolve()
    key, values, others = split_overrides(args.overrides)
    own = overrides(args.images.resolve(), out, others)
    config = configuration(own)
    check_test_images(config)
    swept = [f"{key}={','.join(values)}", f"seed={','.join(map(str, args.seeds))}", f"hydra.sweep.dir={out}/jobs"]
    command = [sys.executable, "-m", "pipeline", "-m", *own, *swept]
    if subprocess.run(command, cwd=CODE, stdout=sys.stderr).returncode:
        sys.exit("A job failed; see above. The same command again runs what is missing")
    runs = complete_runs(own, key, values, args.seeds)
    print(f"\nMeasured on {machine()}, {date.today()}: {' '.join([config.backbone.name, *others])}.\n")
    print("\n".join(table(runs, phase) for phase in PHASES))


if __name__ == "__main__":
    main()
