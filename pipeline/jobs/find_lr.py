"""Find a learning rate for an experiment: run what the range test needs, then the test; write and log its result."""

import logging
import math
from pathlib import Path

from pipeline.config import Config
from pipeline.jobs.identity import experiment_key, outside_digests
from pipeline.jobs.pipeline import run_through
from pipeline.jobs.stage import Experiment, places_of
from pipeline.storage.files import whole_folder, write_json
from pipeline.system.terminal import start_logging
from pipeline.tracking import log_rate_range

log = logging.getLogger(__name__)


def find_lr(config: Config, phase: str) -> None:
    """Test the rates of a phase, `train` or `finetune`, and write `find_lr/` in the experiment's folder.

    Raises:
        PipelineError: whatever the stages before find wrong.
    """
    digests = outside_digests(config)
    root = Path("runs") / experiment_key(config, digests)
    start_logging(root / "find_lr.log")
    before = "train" if phase == "finetune" else "prepare"
    run_through(before, Experiment.of(config, root, digests), repeat=False)
    # TensorFlow and matplotlib take seconds to import: not before the stages, which report what is wrong first.
    from pipeline.reports.training_charts import plot_rate_range
    from pipeline.stages.find_lr import range_test

    result = range_test(config, phase, places_of(config), root)
    configured, folder = getattr(config, phase).learning_rate, root / "find_lr"
    figures = {"phase": phase, "suggested": result.suggested, "configured": configured}
    with whole_folder(folder) as out:
        result.table.to_csv(out / "rates.csv", index=False)
        plot_rate_range(result.table, result.suggested, configured, out / "find_lr.png")
        write_json(out / "suggestion.json", figures)
    log_rate_range(config, folder, figures)
    log.info(
        "%s.learning_rate: %.2g is suggested, a tenth of where the loss was lowest; %.2g is configured, %s. See %s",
        phase,
        result.suggested,
        configured,
        _compared(configured / result.suggested),
        folder / "find_lr.png",
    )


def _compared(ratio: float) -> str:
    if abs(math.log10(ratio)) < 0.5:
        return "about the same"
    return f"{ratio:.1f} times that" if ratio > 1 else f"{1 / ratio:.1f} times less"
