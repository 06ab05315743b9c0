"""Paths, other free texts and names of classes, as people write them on the command line and in params.yaml."""

import pytest

from pipeline.config import compose as composition
from pipeline.config.compose import check_single, checked_trials, configuration, with_params
from pipeline.config.texts import literal
from pipeline.config.validate import ConfigError
from pipeline.system.paths import resolve


@pytest.fixture(autouse=True)
def params(tmp_path, monkeypatch):
    """Write this checkout's params.yaml, which is empty at first."""
    monkeypatch.setattr(composition, "PARAMS", tmp_path / "params.yaml")

    def write(text: str) -> None:
        (tmp_path / "params.yaml").write_text(text, encoding="utf-8")

    return write


PATHS = [
    "Blüten", "花", "a=b", "flowers (1)", "set#1", "cats&dogs", "[x]", "{y}", "it's", 'a"b', "a:b", "50%", "~x", "!z", "ends\\",
    "007", "1e3", "1_0", "true", "2024-01-01", "a b", "$HOME/x", "null_and",
]  # fmt: skip


@pytest.mark.parametrize("key", ["dataset.path", "cache_folder", "tracking.experiment", "hydra.run.dir"])
@pytest.mark.parametrize("text", PATHS)
def test_a_free_text_arrives_as_it_is(key, text):
    overrides = ["dataset=folder", "dataset.path=x", f"{key}={text}"]
    if key.startswith("hydra"):
        checked_trials(with_params(overrides))
        return
    config = configuration(overrides)
    section, _, leaf = key.rpartition(".")
    assert getattr(getattr(config, section) if section else config, leaf) == text


@pytest.mark.parametrize("text", ["'Blüten'", "'a,b'", r"a\,b", "plain/path", "null", "${seed}", "${oc.env:HOME}/x"])
def test_what_hydra_reads_as_a_text_is_left_to_it(text):
    assert literal(f"dataset.path={text}") == f"dataset.path={text}"


def test_a_variable_of_the_shell_in_braces_is_one(monkeypatch):
    monkeypatch.setenv("IMAGES", "/data")
    assert configuration(["dataset=folder", "dataset.path=${IMAGES}/x"]).dataset.path == "/data/x"


def test_variables_in_paths_are_replaced_unless_the_path_exists(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWERS", str(tmp_path / "flowers"))
    assert resolve("$FLOWERS/a") == tmp_path / "flowers/a"
    (tmp_path / "$FLOWERS").mkdir()
    assert resolve(tmp_path / "$FLOWERS") == tmp_path / "$FLOWERS"
    assert resolve("$UNKNOWN5/a").name == "a"


def test_an_existing_path_with_a_comma_is_one_value_and_others_are_a_sweep(tmp_path):
    (tmp_path / "a,b").mkdir()
    assert configuration(["dataset=folder", f"dataset.path={tmp_path}/a,b"]).dataset.path == f"{tmp_path}/a,b"
    assert literal(f"dataset.path={tmp_path}/a,{tmp_path}/b") == f"dataset.path={tmp_path}/a,{tmp_path}/b"


def test_several_values_without_m_are_named_with_both_ways_to_go_on():
    with pytest.raises(ConfigError) as caught:
        check_single(["dataset.path=x,y"])
    assert "add -m to run one job for each" in str(caught.value)
    assert """ type "dataset.path='x,y'" for one text""" in str(caught.value)


def test_a_value_that_hydra_refuses_is_answered_with_the_words_to_type():
    with pytest.raises(ConfigError, match=r"""type "train\.optimizer='é'\""""):
        configuration(["train.optimizer=é"])


NAMES = [
    "1",
    "007",
    "true",
    "null",
    "1.5",
    "1e3",
    "a (b)",
    "C++",
    "café",
    "it's",
    'say "x"',
    "a, b",
    "a:b",
    "x.y",
    "花",
    "-",
    "{z}",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_class_of_any_name_may_have_a_weight_in_params(params, name):
    quoted = name.replace("'", "''")
    params(f"train: {{class_weight: {{'{quoted}': 2, cat: 1e-3}}}}")
    config = configuration()
    assert config.train.class_weight == {name: 2, "cat": 1e-3}
    assert config.finetune.class_weight == config.train.class_weight


def test_names_in_params_need_no_quotes(params):
    params("train:\n  class_weight:\n    007: 2\n    true: 3\n    yes: 4\n    2024-01-01: 5\n    null: 6\n")
    expected = {"007": 2, "true": 3, "yes": 4, "2024-01-01": 5, "null": 6}
    assert configuration().train.class_weight == expected


@pytest.mark.parametrize("name", [name for name in NAMES if name != "{z}"])
@pytest.mark.parametrize("space", ["", " "])
def test_a_class_of_any_name_may_have_a_weight_on_the_command_line(name, space):
    config = configuration([f"train.class_weight={{{name}:{space}2,{space}cat:{space}0.5}}"])
    assert config.train.class_weight == {name: 2, "cat": 0.5}


@pytest.mark.parametrize("written", ["{'a, b:1, c': 2}", '{"a, b:1, c": 2}', "'{\"a, b:1, c\": 2}'"])
def test_a_quoted_name_may_contain_anything(written):
    assert configuration([f"finetune.class_weight={written}"]).finetune.class_weight == {"a, b:1, c": 2}


def test_a_sweep_over_weights_stays_one():
    overrides = with_params(["train.class_weight=none,{café:2},{café:3}"])
    checked_trials(overrides)
    with pytest.raises(ConfigError, match="several values"):
        check_single(overrides)


@pytest.mark.parametrize("value", ["{a:heavy}", "{a:0}", "{a}", "{a:1", "x"])
def test_what_is_no_weight_is_still_an_error(value):
    with pytest.raises(ConfigError, match=r"train\.class_weight"):
        configuration([f"train.class_weight={value}"])
