"""Archive of a saved classifier: its members, without Keras."""

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.system.errors import PipelineError

WEIGHTS = "model.weights.h5"
"""Member with the weights."""


def read_member(file: Path, name: str) -> Any:
    """Read a JSON file from the archive of a saved classifier.

    Raises:
        PipelineError: The file was not written by `save_classifier`.
    """
    try:
        with zipfile.ZipFile(file) as members:
            return json.loads(members.read(name))
    except (KeyError, ValueError) as error:
        raise PipelineError(f"{file} is not a classifier of this pipeline: it has no {name} ({error})") from error
    except zipfile.BadZipFile as error:
        raise PipelineError(
            f"{file} is not a classifier of this pipeline, or is truncated ({error}); "
            "copy it again, or run the stage again that wrote it"
        ) from error


def copy_archive(source: Path, target: Path, replaced: Mapping[str, str | Path]) -> None:
    """Copy an archive; equal members give identical files.

    Args:
        source: Archive.
        target: File to write.
        replaced: Texts, or files with the content, of members that are replaced or added, by name.
    """
    with zipfile.ZipFile(source) as members, zipfile.ZipFile(target, "w") as copy:
        for name in sorted({*members.namelist(), *replaced}):
            # A ZipInfo without a date has the constant date 1980.
            member, new = zipfile.ZipInfo(name), replaced.get(name)
            if isinstance(new, str):
                copy.writestr(member, new)
                continue
            # zipfile uses the size to choose between the 32-bit and the 64-bit format.
            member.file_size = new.stat().st_size if new else members.getinfo(name).file_size
            with new.open("rb") if new else members.open(name) as content, copy.open(member, "w") as written:
                shutil.copyfileobj(content, written, 2**20)
