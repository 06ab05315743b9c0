"""Keys change with everything that a result depends on, and with nothing else."""

import shutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pipeline.config import Config
from pipeline.config.compose import composed, from_hydra
from pipeline.config.validate import check
from pipeline.jobs import identity
from pipeline.jobs.identity import (
    Digests,
    Experiment,
    experiment_key,
    outside_digests,
    read_digests,
    write_digests,
    write_key,
)
from pipeline.stages import COMPUTING, STAGES, declaration, settings
from pipeline.stages.settings import write_settings
from pipeline.storage.files import files_below, read_json
from pipeline.system.paths import CODE
from tests.support.experiments import declared_outputs

DIGESTS = {"images": "a" * 64, "weights": None}


def configuration(*overrides: str) -> Config:
    return check(composed(["dataset=folder", "dataset.path=images", "image_size=32", *overrides]))


def stage_key(stage: str, config: Config, root: Path, digests: Digests) -> str:
    return Experiment(config, root, digests, "").stage_key(stage)


@pytest.fixture(scope="module")
def config() -> Config:
    return configuration()


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with all files that stages read of each other, of some content."""
    for stage in STAGES:
        for name in declaration(stage).inputs:
            (tmp_path / "job" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "job" / name).write_text(name)
    return tmp_path / "job"


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """A copy of the code and the locks, of which keys are computed."""
    copy = tmp_path / "code"
    shutil.copytree(CODE / "pipeline", copy / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in {name for stage in STAGES for name in declaration(stage).others}:
        shutil.copy(CODE / name, copy / name)
    monkeypatch.setattr(identity, "CODE", copy)
    # Of one process, whose code does not change.
    monkeypatch.setattr(identity, "code_digest", identity.code_digest.__wrapped__)
    return copy


def change_a_byte(file: Path) -> bytes:
    content = file.read_bytes()
    file.write_bytes(bytes([(content or b" ")[0] ^ 1]) + content[1:])
    return content


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_is_declared_exists(stage):
    declared = declaration(stage)
    assert [path for path in declared.code + declared.others if not (CODE / path).exists()] == []
    earlier = {path for each in STAGES[: STAGES.index(stage)] for path in declared_outputs(each)}
    assert set(declared.inputs) <= earlier


@pytest.mark.parametrize("stage", STAGES)
def test_a_byte_of_its_code_or_of_a_lock_changes_a_stages_key(stage, config, root, code):
    declared = declaration(stage)
    before, experiment = stage_key(stage, config, root, DIGESTS), experiment_key(config, DIGESTS)
    for path in declared.code + declared.others:
        files = files_below(code / path) if (code / path).is_dir() else [code / path]
        assert files, path
        for file in files:
            content = change_a_byte(file)
            assert stage_key(stage, config, root, DIGESTS) != before, file
            # What only draws makes no other experiment.
            assert stage not in COMPUTING or experiment_key(config, DIGESTS) != experiment, file
            file.write_bytes(content)
    (code / declared.code[-1] / "new.py").touch()
    assert stage_key(stage, config, root, DIGESTS) != before


@pytest.mark.parametrize("stage", STAGES)
def test_other_code_changes_no_key(stage, config, root, code):
    declared = [code / path for path in declaration(stage).code]
    before = stage_key(stage, config, root, DIGESTS)
    for file in files_below(code / "pipeline"):
        if not any(file == path or path in file.parents for path in declared):
            change_a_byte(file)
    assert stage_key(stage, config, root, DIGESTS) == before


@pytest.mark.parametrize("stage", STAGES)
def test_a_byte_of_an_input_changes_a_stages_key_and_a_missing_one_is_an_error(stage, config, root):
    before = stage_key(stage, config, root, DIGESTS)
    for name in declaration(stage).inputs:
        content = change_a_byte(root / name)
        assert stage_key(stage, config, root, DIGESTS) != before, name
        (root / name).unlink()
        with pytest.raises(OSError, match="No such file"):
            stage_key(stage, config, root, DIGESTS)
        (root / name).write_bytes(content)
    for name in {name for each in STAGES for name in declaration(each).inputs} - set(declaration(stage).inputs):
        change_a_byte(root / name)
    assert stage_key(stage, config, root, DIGESTS) == before


@pytest.mark.parametrize("name", DIGESTS)
def test_images_and_weights_change_the_key_of_the_stage_that_reads_them_and_the_experiments(name, config, root):
    changed = DIGESTS | {name: "b" * 64}
    reads = {stage for stage in STAGES if name in declaration(stage).digests}
    assert reads == {"images": {"prepare"}, "weights": {"train"}}[name]
    for stage in STAGES:
        differs = stage_key(stage, config, root, DIGESTS) != stage_key(stage, config, root, changed)
        assert differs == (stage in reads)
    assert experiment_key(config, DIGESTS) != experiment_key(config, changed)


def test_a_fix_that_no_stage_declares_changes_all_keys_when_the_number_is_raised(config, root, monkeypatch):
    before = {stage: stage_key(stage, config, root, DIGESTS) for stage in STAGES}
    experiment = experiment_key(config, DIGESTS)
    monkeypatch.setattr(identity, "RESULTS", identity.RESULTS + 1)
    assert all(stage_key(stage, config, root, DIGESTS) != before[stage] for stage in STAGES)
    assert experiment_key(config, DIGESTS) != experiment


def test_dvc_sees_that_the_number_was_raised(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_settings(config)
    before = {stage: (tmp_path / "outputs" / "settings" / f"{stage}.yaml").read_text() for stage in STAGES}
    monkeypatch.setattr(settings, "RESULTS", settings.RESULTS + 1)
    write_settings(config)
    after = {stage: (tmp_path / "outputs" / "settings" / f"{stage}.yaml").read_text() for stage in STAGES}
    assert all(before[stage] != after[stage] for stage in STAGES)


NETWORK = {"train", "finetune", "evaluate"}
# Which stages compute otherwise when a setting changes: by the whole key, else by its section.
COMPUTED_BY = {
    "seed": {"prepare", *NETWORK},
    "image_size": NETWORK,
    "image": NETWORK,
    "dataset": {"prepare"},
    "backbone": NETWORK,
    "augment": {"train", "finetune"},
    "train": {"train"},
    "finetune": {"finetune"},
    "finetune.freeze_batch_norm": {"finetune", "evaluate"},
    "evaluate": {"evaluate"},
    "hardware": NETWORK,
}
# Shown in the report, and without effect on any figure: what an image set is called, and defaults of other settings.
SHOWN = {"dataset.name", "dataset.mirror", "dataset.image_size"}
# How results are kept, used and looked for.
NO_RESULT = {"cache_folder", "dataset.path", "tracking", "export", "register", "find_lr", "sweep", "plan"}


def leaves(section: Any, prefix: str = "") -> Iterator[str]:
    """The keys of all settings."""
    for each in fields(section):
        value = getattr(section, each.name)
        yield from leaves(value, f"{prefix}{each.name}.") if is_dataclass(value) else [prefix + each.name]


def with_another_value(section: Any, key: str) -> Any:
    name, _, rest = key.partition(".")
    value = getattr(section, name)
    if rest:
        return replace(section, **{name: with_another_value(value, rest)})
    if isinstance(value, bool):
        return replace(section, **{name: not value})
    if isinstance(value, int | float):
        return replace(section, **{name: value + 1})
    return replace(section, **{name: f"{value} changed"})


def expected(key: str) -> set[str]:
    """The stages whose keys a setting changes."""
    section = key.split(".")[0]
    if key == "tracking.log_model":
        return {"report"}
    if key in NO_RESULT or section in NO_RESULT:
        return set()
    # The report shows the experiment's settings.
    return {"report"} | (set() if key in SHOWN else COMPUTED_BY.get(key, COMPUTED_BY[section]))


def test_each_setting_changes_the_keys_of_the_stages_that_it_reaches_and_no_other(config, root):
    before = {stage: stage_key(stage, config, root, DIGESTS) for stage in STAGES}
    experiment = experiment_key(config, DIGESTS)
    changes = {}
    for key in leaves(config):
        other = with_another_value(config, key)
        changes[key] = {stage for stage in STAGES if stage_key(stage, other, root, DIGESTS) != before[stage]}
        assert (experiment_key(other, DIGESTS) != experiment) == bool(changes[key] & set(COMPUTING)), key
    assert len(changes) > 120
    assert changes == {key: expected(key) for key in changes}


def test_no_place_changes_an_experiments_key(tmp_path, images):
    config = configuration(f"dataset.path={images}")
    key = experiment_key(config)
    shutil.copytree(images, tmp_path / "moved")
    for override in (
        f"dataset.path={tmp_path}/moved",
        f"cache_folder={tmp_path}/cache",
        "tracking.uri=http://example.org",
        "tracking.experiment=another",
    ):
        assert experiment_key(configuration(f"dataset.path={images}", override)) == key
    cfg = composed(["dataset=folder", f"dataset.path={images}", "image_size=32"])
    whole = OmegaConf.merge(OmegaConf.create({"hydra": {"run": {"dir": str(tmp_path)}}}), cfg)
    assert experiment_key(from_hydra(whole)) == key
    (tmp_path / "moved" / "red" / "000.png").unlink()
    assert experiment_key(configuration(f"dataset.path={tmp_path}/moved")) != key


def test_a_weights_file_is_known_by_its_content(tmp_path, images, root):
    keys = []
    for name, content in (("a", "weights"), ("b", "weights"), ("c", "other weights")):
        file = tmp_path / f"{name}.weights.h5"
        file.write_text(content)
        config = configuration(f"dataset.path={images}", f"backbone.weights={file}")
        digests = outside_digests(config)
        stages = {stage: stage_key(stage, config, root, digests) for stage in STAGES}
        keys.append({"experiment": experiment_key(config, digests), **stages})
    assert keys[0] == keys[1]
    assert {name for name, key in keys[2].items() if key != keys[0][name]} == {"experiment", "train"}


def test_dvc_keeps_the_digests_and_the_beginning_of_the_key(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_digests(DIGESTS)
    write_key(config, DIGESTS)
    assert read_digests() == DIGESTS
    assert read_json(Path("outputs/watch/experiment.json")) == {"mlflow": experiment_key(config, DIGESTS)[:6]}
