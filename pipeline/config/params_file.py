"""Changes to params.yaml that leave its other lines and comments as they are."""

import json
from collections.abc import Sequence

import yaml

from pipeline.config import compose
from pipeline.storage.files import whole_file
from pipeline.system.errors import PipelineError

_NULL = "tag:yaml.org,2002:null"
# Start and end of a part of a text, and the text that replaces it.
_Change = tuple[int, int, str]


def check_backbone_counts() -> None:
    """Check that params.yaml can choose the backbone.

    Raises:
        PipelineError: The file is not valid, or an experiment in it sets the backbone aside.
    """
    experiment = compose.read_params().get("experiment")
    if experiment:
        raise PipelineError(
            f"--take: params.yaml has `experiment: {experiment}`, beside which its backbone does not count; remove that line first"
        )


def set_backbone(name: str, weights: str | None) -> bool:
    """Make a backbone the one of params.yaml, and return whether this has changed the file.

    Args:
        name: Name of the backbone.
        weights: File of its weights; None: those of conf/.
    """
    before = compose.PARAMS.read_text(encoding="utf-8") if compose.PARAMS.exists() else ""
    after = with_backbone(before, name, weights)
    if after != before:
        with whole_file(compose.PARAMS) as unfinished:
            unfinished.write_text(after, encoding="utf-8")
    return after != before


def with_backbone(text: str, name: str, weights: str | None) -> str:
    """Return params.yaml with another backbone; settings of the backbone that it had become null.

    Args:
        text: Valid content of params.yaml.
        name: Name of the backbone.
        weights: File of its weights; None: those of conf/.
    """
    wanted = {"name": name} | ({"weights": json.dumps(weights)} if weights else {})
    alone = name if not weights else f"{{{', '.join(f'{key}: {value}' for key, value in wanted.items())}}}"
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    node = {key.value: value for key, value in root.value}.get("backbone") if root else None
    if node is None:
        return f"{text.rstrip()}\nbackbone: {alone}\n".lstrip()
    if not isinstance(node, yaml.MappingNode):
        return _replaced(text, [_change(text, node, alone)])
    had = {key.value: value for key, value in node.value}
    first = node.value[0][0].start_mark
    separator = ", " if node.flow_style else f"\n{' ' * first.column}"
    changes = [(first.index, first.index, f"{key}: {wanted[key]}{separator}") for key in wanted if key not in had]
    kept = wanted if had.get("name") is None or had["name"].value != name else had
    for key, value in had.items():
        if key in wanted or (key not in kept and value.tag != _NULL):
            changes.append(_change(text, value, wanted.get(key, "null")))
    return _replaced(text, changes)


def _change(text: str, node: yaml.Node, value: str) -> _Change:
    """Return the change of a node's text; an empty one begins right after the colon."""
    start, end = node.start_mark.index, node.end_mark.index
    return start, end, f" {value}" if start == end and text[start - 1] == ":" else value


def _replaced(text: str, changes: Sequence[_Change]) -> str:
    # From the end, so that earlier places remain the same.
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text
