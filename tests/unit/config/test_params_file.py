"""A backbone is written into params.yaml, and nothing else in it changes."""

import pytest

from pipeline.config import compose as composition
from pipeline.config.compose import configuration
from pipeline.config.params_file import check_backbone_counts, set_backbone
from pipeline.system.errors import PipelineError

SHIPPED = (composition.CODE / "params.yaml").read_text()


@pytest.fixture
def params(tmp_path, monkeypatch):
    """This checkout's params.yaml."""
    monkeypatch.setattr(composition, "PARAMS", tmp_path / "params.yaml")
    return tmp_path / "params.yaml"


def changed_lines(before: str, after: str) -> list[str]:
    old, new = before.splitlines(), after.splitlines()
    assert len(old) == len(new)
    return [line for was, line in zip(old, new, strict=True) if was != line]


def test_of_the_shipped_file_one_line_changes(params):
    params.write_text(SHIPPED)
    assert set_backbone("vgg16", None)
    assert changed_lines(SHIPPED, params.read_text()) == ["  name: vgg16"]
    assert configuration().backbone.constructor == "VGG16"
    assert not set_backbone("vgg16", None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "backbone: vgg16\n"),
        ("# Mine.\nseed: 3", "# Mine.\nseed: 3\nbackbone: vgg16\n"),
        ("backbone: # a comment\nseed: 3\n", "backbone: vgg16 # a comment\nseed: 3\n"),
        ("backbone: resnet50  # a comment\nseed: 3\n", "backbone: vgg16  # a comment\nseed: 3\n"),
        (
            "backbone: {name: resnet50, weights: mine.h5, unfreeze: }  # c\ntrain: { epochs:   2 }\n",
            "backbone: {name: vgg16, weights: null, unfreeze: }  # c\ntrain: { epochs:   2 }\n",
        ),
        ("backbone: {unfreeze: -2}\n", "backbone: {name: vgg16, unfreeze: null}\n"),
        (
            "backbone:\n  # Deep.\n  unfreeze: -2 # c\nseed: 1",
            "backbone:\n  # Deep.\n  name: vgg16\n  unfreeze: null # c\nseed: 1",
        ),
        ("backbone: {name: vgg16, unfreeze: -2}\n", "backbone: {name: vgg16, unfreeze: -2}\n"),
    ],
)
def test_comments_and_other_lines_remain(params, before, after):
    params.write_text(before)
    assert set_backbone("vgg16", None) == (before != after)
    assert params.read_text() == after
    assert configuration().backbone.name == "vgg16"


@pytest.mark.parametrize(
    "before", ["", "backbone: vgg19", "backbone:\n  name:\n  weights:\n", "backbone: {weights: a}\n"]
)
def test_a_file_of_weights_comes_with_its_backbone(params, tmp_path, before):
    params.write_text(before)
    file = tmp_path / "my: 'own' weights.h5"
    file.touch()
    set_backbone("vgg16", str(file))
    assert (configuration().backbone.name, configuration().backbone.weights) == ("vgg16", str(file))


def test_beside_an_experiment_a_backbone_is_refused(params):
    check_backbone_counts()
    params.write_text("experiment: article_vgg16\n")
    with pytest.raises(PipelineError, match=r"--take: params.yaml has `experiment: article_vgg16`"):
        check_backbone_counts()
