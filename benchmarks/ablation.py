"""Ablation of fine-tuning: run the experiments that MLflow lacks, and write docs/benchmarks/ablation.md.

python -m benchmarks.ablation <folder with clothing/ and cats_dogs/> --studies ablation --data clothing --workers 2
python -m benchmarks.ablation --page
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from benchmarks.ablation_studies import DATA, EXPERIMENT, IMAGES, STUDIES, Study, make_images, overrides
from benchmarks.results import machine
from pipeline.comparison.experiments import Experiment, Row, experiment_of
from pipeline.comparison.ranking import rank
from pipeline.config import Config
from pipeline.config.compose import configuration
from pipeline.system.paths import CODE
from pipeline.tracking.store import complete_runs, connect

PAGE = CODE / "docs" / "benchmarks" / "ablation.md"


def _flat(config: Config) -> dict[str, str]:
    """Return all settings as text, by their names in MLflow."""
    settings: dict[str, str] = {}
    for name, value in asdict(config).items():
        entries = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        settings |= {key: str(each) for key, each in entries.items() if each is not None}
    return settings


class Store:
    """Complete runs of the studies in MLflow."""

    def __init__(self) -> None:
        """Read the runs from MLflow."""
        tracking = configuration([f"tracking.experiment={EXPERIMENT}"]).tracking
        connect(tracking)
        self._runs = [experiment_of(run) for run in complete_runs(tracking)]

    def measured(self, study: Study, data: str) -> dict[str, dict[int, Experiment]]:
        """Return the latest complete run of each row and seed; only settings that differ between rows are compared."""
        folder = study.folder(data)
        if not folder.exists():
            return {}
        rows = {row: _flat(configuration(overrides(study, data, row, folder))) for row in study.rows}
        keys = {key for row in rows.values() for key in row if len({other.get(key) for other in rows.values()}) > 1}
        keys |= {"dataset.path", "image_size"}
        measured: dict[str, dict[int, Experiment]] = {row: {} for row in rows}
        for run in self._runs:
            for row, settings in rows.items():
                if all(run.params.get(key) == settings.get(key) for key in keys):
                    measured[row].setdefault(int(run.params["seed"]), run)
        return measured


@dataclass(frozen=True)
class Job:
    """Job that runs all missing seeds of a row in one process."""

    study: Study
    data: str
    row: str
    seeds: list[int]

    def run(self, workers: int) -> None:
        """Run the job with its output in a log file, and with one thread if there are several workers."""
        own = overrides(self.study, self.data, self.row, self.study.folder(self.data))
        if workers > 1:
            own += ["hardware.intra_op_threads=1", "hardware.inter_op_threads=1"]
        command = [sys.executable, "-m", "pipeline", "-m", *own, f"seed={','.join(map(str, self.seeds))}"]
        log = IMAGES / "logs" / f"{self.data} {self.row}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as stream:
            ran = subprocess.run(command, cwd=CODE, stdout=stream, stderr=stream)
        print(self.data, self.row, *self.seeds, f"FAILED, see {log}" if ran.returncode else "done", flush=True)


def page(store: Store, before: str) -> str:
    """Return the page with one table per study and data set that has results.

    Other tables are copied from the page `before`: they were measured on another machine, or with earlier presets.
    """
    tables = {table.partition(" (")[0]: table for table in before.split("\n## ")[1:]}
    for study in STUDIES.values():
        for data in DATA:
            title = f"{study.title}: {data}"
            rows = {row: runs for row, runs in store.measured(study, data).items() if runs}
            if rows:
                tables[title] = _table(title, rows)
    return "\n## ".join([_ABOVE, *tables.values()])


def _table(title: str, measured: dict[str, dict[int, Experiment]]) -> str:
    rows = {name: Row({}, [runs[seed] for seed in sorted(runs)]) for name, runs in measured.items()}
    ranking = rank(list(rows.values()), "accuracy", 5, 0.95)
    places = {name: next(i for i, each in enumerate(ranking.rows) if each.row is row) for name, row in rows.items()}
    reference = places[next(iter(rows))]
    lines = [
        f"{title} ({ranking.images} held-out images)",
        "",
        f"Measured on {machine()}, {date.today()}.",
        "",
        "| | accuracy | spread | 95 % interval | less the first | p | phase 1 | seconds of fine-tuning | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, place in places.items():
        ranked = ranking.rows[place]
        estimate, difference, p = ranked.estimate, "", ""
        if place != reference:
            difference = f"{estimate.value - ranking.rows[reference].estimate.value:+.4f}"
            p = f"{ranking.p[place, reference]:.2g}"
        cells = (
            name,
            f"{estimate.value:.4f}",
            "" if ranked.spread is None else f"{ranked.spread:.4f}",
            f"{estimate.low:.3f} to {estimate.high:.3f}",
            difference,
            p,
            f"{ranked.row.mean('test/train/accuracy'):.4f}",
            f"{ranked.row.mean('seconds/finetune'):.0f}",
            str(len(ranked.by_seed)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


_ABOVE = """# Which ingredients of fine-tuning help

EfficientNet-Lite0. `python -m benchmarks.ablation <folder>` runs what is missing and writes this page from MLflow's
experiment "recipes".

- Accuracy is on held-out images that nothing was trained on or chosen by: clothing's own validation split; of cats_dogs
  and digits, 300 training images. It is that of the better phase on validation.
- Each row has the mean over seeds, their standard deviation, and an interval for the choice of images.
- p is of the paired comparison with the first row, Holm-corrected for all pairs of the table. A large p shows nothing.
- The ablation is on 1,000 training images for eight epochs (cats_dogs and digits: 500 for four) at 112 px (digits: 96).
- Seconds are of one core, with two jobs or more side by side.
"""


def main() -> None:
    """Run the missing experiments, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, nargs="?", help="folder with clothing/ and cats_dogs/, each with train/")
    parser.add_argument("--studies", nargs="*", choices=STUDIES, default=list(STUDIES), help="studies (default: all)")
    parser.add_argument("--data", nargs="*", choices=DATA, default=DATA, help="data sets (default: all)")
    parser.add_argument("--rows", nargs="*", help="rows of the tables (default: all)")
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3], help="seeds (default: 1 2 3)")
    parser.add_argument(
        "--workers", type=int, default=1, help="number of parallel processes; several have one thread each (default: 1)"
    )
    parser.add_argument("--page", action="store_true", help="write the page without running experiments")
    args = parser.parse_args()
    store, jobs = Store(), []
    for study in () if args.page else [STUDIES[name] for name in args.studies]:
        for data in args.data:
            make_images(study, data, args.source)
            measured = store.measured(study, data)
            for row in args.rows or study.rows:
                missing = [seed for seed in args.seeds if seed not in measured.get(row, {})]
                if missing and row in study.rows:
                    jobs.append(Job(study, data, row, missing))
    with ThreadPoolExecutor(args.workers) as pool:
        list(pool.map(lambda job: job.run(args.workers), jobs))
    PAGE.write_text(page(Store(), PAGE.read_text()))


if __name__ == "__main__":
    main()
