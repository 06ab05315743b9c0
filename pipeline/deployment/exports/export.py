"""Write a classifier in other formats, each checked against the classifier first."""

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
"""By format, and for the classifier itself (`keras`): latency_ms; of formats also size_mib and `Agreement`'s fields."""


def export_classifier(
    classifier: Classifier, names: Iterable[str], sample: Sample, *, margins: ExportConfig, folder: Path
) -> Summaries:
    """Write formats into a folder, all or none, with a summary of each as parity.json.

    Args:
        classifier: is exported.
        names: of the formats, keys of `FORMATS`.
        sample: images to compare on.
        margins: how far an export may be from the classifier.
        folder: holds nothing yet, or an earlier export, which is replaced.

    Raises:
        PipelineError: a library is missing, a converter fails, an export does not predict as the classifier does, or
            `folder` holds something that is not an export.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / RESULT).exists())):
        raise PipelineError(f"{folder} is not an earlier export, and would be replaced; name another folder, --out DIR")
    # What is not installed is reported before anything is computed.
    formats = {FORMATS[name]: FORMATS[name].implementation() for name in names}
    images = decode_files(sample.representative, classifier.image_size)
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
    """Run a converter, whose output is of use only where it fails, and read back what it wrote."""
    output = io.StringIO()
    level = logging.root.manager.disable
    try:
        with contextlib.redirect_stdout(output), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            implementation.write(classifier, images, target)
            # Some converters write what their runtime can't compute; reading it finds out.
            return implementation(target)
    except Exception as error:  # Converters raise anything.
        raise PipelineError(
            f"{name}: its converter failed on this network: {error or type(error).__name__}\n{output.getvalue()}"
        ) from error
    finally:
        logging.disable(level)


def print_summaries(summaries: Summaries) -> None:
    """Print sizes, latencies and agreement of all formats as a table."""
    columns = ("", "size", "one image", "same class", "largest difference", "accuracy")
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
