"""Last lines of a run: the test accuracy, and where to read on."""

from pathlib import Path

from pipeline.reports.index_page import INDEX
from pipeline.storage.files import read_json
from pipeline.system.errors import PipelineError

_NAMES = {"train": "phase 1, feature extraction", "finetune": "phase 2, fine-tuning"}


def result_lines(root: Path, confidence: float) -> list[str]:
    """Return the result of a finished experiment in a few lines.

    Args:
        root: Folder with the outputs of the stages.
        confidence: Confidence level of the intervals.

    Raises:
        PipelineError: There is no result.
    """
    file = root / "evaluate" / "metrics.json"
    if not file.exists():
        raise PipelineError(f"{root} has no result of stage evaluate; run `dvc repro` or `python -m pipeline`")
    metrics = read_json(file)
    best = metrics["best"]
    [other] = _NAMES.keys() - {best}
    accuracy = "{accuracy:.3f}, {level:.4g} % interval {accuracy_low:.3f} to {accuracy_high:.3f}, {images} images"
    lines = [
        f"Test accuracy {accuracy.format(**metrics[best], level=100 * confidence)}",
        f"  model    {_shown(root / best / 'model.keras')}: {_NAMES[best]}; it is better on validation images",
        f"  other    {_NAMES[other]}: test accuracy {metrics[other]['accuracy']:.3f}",
    ]
    if (report := root / "report" / "report.html").exists():
        lines.append(f"  report   {_shown(report)}")
    if (index := root / INDEX).exists():
        lines.append(f"  index    {_shown(index)}: all pages and files")
    return [*lines, "  MLflow   make ui"]


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
