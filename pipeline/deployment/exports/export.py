"""Write a classifier in other formats, each behind the gate."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.config import ExportConfig
from pipeline.deployment.classifier import Classifier
from pipeline.deployment.exports.formats import FORMATS, Exported, Format, size_bytes
from pipeline.deployment.exports.parity import Agreement, check, decoded, milliseconds
from pipeline.deployment.exports.sample import Sample
from pipeline.storage.files import whole_folder, write_json
from pipeline.system.errors import PipelineError

RESULT = "parity.json"


def export(
    classifier: Classifier, names: Iterable[str], sample: Sample, margins: ExportConfig, folder: Path
) -> dict[str, dict[str, Any]]:
    """Write the formats with `names` into `folder`, all or none, with what was found of each as parity.json.

    Returns:
        for the classifier itself (`keras`) and each format: latency_ms, and of the formats size_mib and an `Agreement`'s fields.

    Raises:
        PipelineError: a library is missing, a converter fails, an export does not answer as the classifier does, or `folder` holds
            something that is no export.
    """
    kinds = [FORMATS[name] for name in names]
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / RESULT).exists())):
        raise PipelineError(
            f"{folder} holds something that is no earlier export, and would be replaced; name another folder, --out DIR"
        )
    modules = {kind.name: kind.module for kind in kinds}
    learned = decoded(sample.learned, classifier.image_size)
    found: dict[str, dict[str, Any]] = {"keras": {"latency_ms": milliseconds(classifier, learned[0])}}
    with whole_folder(folder) as unfinished:
        for kind in kinds:
            target = unfinished / kind.target
            exported = _convert(kind, modules[kind.name], classifier, learned, target)
            agreement = check(kind, exported, classifier, sample.compared, sample.labels, margins)
            found[kind.name] = _told(target, milliseconds(exported, learned[0]), agreement)
        write_json(unfinished / "classifier.json", classifier.description())
        write_json(
            unfinished / RESULT,
            {"tolerance": margins.tolerance, "int8_agreement": margins.int8_agreement, "formats": found},
        )
    return found


def _convert(kind: Format, module: Any, classifier: Classifier, learned: Any, target: Path) -> Exported:
    """Run a converter, whose remarks are of use only where it fails, and read back what it wrote."""
    said = io.StringIO()
    level = logging.root.manager.disable
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            module.write(classifier, learned, target)
            # Some converters write what they can't do, and leave it to the runtime to say so.
            return module.read(target)
    except Exception as error:  # Converters raise anything.
        raise PipelineError(
            f"{kind.name}: its converter can't do this network: {error or type(error).__name__}\n{said.getvalue()}"
        ) from error
    finally:
        logging.disable(level)


def _told(target: Path, latency: float, agreement: Agreement) -> dict[str, Any]:
    return {"size_mib": size_bytes(target) / 2**20, "latency_ms": latency, **asdict(agreement)}


def as_table(found: dict[str, dict[str, Any]]) -> Table:
    """Sizes, latencies and agreement of all formats."""
    table = Table(
        "", "size", "one image", "same class", "largest difference", "accuracy", box=None, header_style="bold"
    )
    for name, each in found.items():
        if "images" not in each:
            table.add_row(name, "", f"{each['latency_ms']:.1f} ms", "", "", "")
            continue
        accuracy = (
            "" if each["accuracy"] is None else f"{each['accuracy']:.4f} (classifier {each['classifier_accuracy']:.4f})"
        )
        table.add_row(
            name, f"{each['size_mib']:.1f} MiB", f"{each['latency_ms']:.1f} ms", f"{each['same_class']:.1%} of {each['images']}",
            f"{each['largest_difference']:.1e}", accuracy,
        )  # fmt: skip
    return table
