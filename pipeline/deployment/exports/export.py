"""Export a classifier to other formats, and check each export against the classifier."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.table import Table

from pipeline.config import ExportConfig
from pipeline.deployment.classifier import Classifier
from pipeline.deployment.exports.formats import FORMATS, Exported
from pipeline.deployment.exports.parity import Sample, check_parity, decode_files, milliseconds
from pipeline.storage.files import Json, whole_folder, write_json
from pipeline.system.errors import PipelineError
from pipeline.system.terminal import table_console

RESULT = "parity.json"
Summaries = dict[str, Json]
"""Measurements by format: size_mib, latency_ms and the fields of `Agreement`.

The entry of the classifier itself, `keras`, contains only latency_ms.
"""


def export_classifier(
    classifier: Classifier, names: Iterable[str], sample: Sample, *, margins: ExportConfig, folder: Path
) -> Summaries:
    """Export a classifier to several formats, all or none, and write measurements to parity.json.

    Args:
        classifier: Classifier to export.
        names: Names of the formats, keys of `FORMATS`.
        sample: Images for the comparison with the classifier.
        margins: Allowed differences between the predictions of an export and of the classifier.
        folder: Output folder, which must be new, empty or an earlier export, which is replaced.

    Returns:
        Measurements by format.

    Raises:
        PipelineError: A library is missing, a converter failed, an export differs from the classifier by more than
            `margins`, or `folder` contains something that is not an export.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / RESULT).exists())):
        raise PipelineError(
            f"{folder} is not an earlier export and is not replaced; give another folder with --out DIR"
        )
    # Missing libraries are reported before the computation.
    formats = {FORMATS[name]: FORMATS[name].implementation() for name in names}
    images = decode_files(sample.representative, classifier.decoding)
    summaries: Summaries = {"keras": {"latency_ms": milliseconds(classifier, images[0])}}
    with whole_folder(folder) as unfinished:
        for each, implementation in formats.items():
            target = unfinished / each.target
            exported = _convert(each.name, implementation, classifier, images, target)
            agreement = check_parity(each, exported, classifier, sample, margins=margins)
            size = sum(file.stat().st_size for file in (target, *target.rglob("*")) if file.is_file())
            latency = milliseconds(exported, images[0])
            summaries[each.name] = {"size_mib": size / 2**20, "latency_ms": latency, **asdict(agreement)}
        write_json(unfinished / "classifier.json", classifier.description())
        result = {"tolerance": margins.tolerance, "int8_agreement": margins.int8_agreement, "formats": summaries}
        write_json(unfinished / RESULT, result)
    return summaries


def _convert(
    name: str, implementation: type[Exported], classifier: Classifier, images: np.ndarray, target: Path
) -> Exported:
    """Run a converter and load its export; the output of the converter is shown only if it fails."""
    output = io.StringIO()
    level = logging.root.manager.disable
    try:
        with contextlib.redirect_stdout(output), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            implementation.write(classifier, images, target)
            # Loading is part of the check, because some converters write models that their runtime does not support.
            return implementation(target)
    except Exception as error:  # Converters raise exceptions of any type.
        raise PipelineError(
            f"{name}: the converter failed: {error or type(error).__name__}\n{output.getvalue()}"
        ) from error
    finally:
        logging.disable(level)


def print_summaries(summaries: Summaries) -> None:
    """Print the size, latency and agreement of each format as a table."""
    columns = ("", "size", "time per image", "same class", "largest difference", "accuracy")
    table = Table(*columns, box=None, header_style="bold")
    for name, each in summaries.items():
        latency = f"{each['latency_ms']:.1f} ms"
        if "images" not in each:
            table.add_row(name, "", latency, "", "", "")
            continue
        known = each["accuracy"] is not None
        table.add_row(
            name,
            f"{each['size_mib']:.1f} MiB",
            latency,
            f"{each['same_class']:.1%} of {each['images']}",
            f"{each['largest_difference']:.1e}",
            f"{each['accuracy']:.4f} (classifier {each['classifier_accuracy']:.4f})" if known else "",
        )
    table_console().print(table)
