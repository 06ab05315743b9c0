"""An experiment run again: everything it says is asked for, and every figure compared."""

import subprocess
from math import nan
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipeline.comparison.experiments import Experiment
from pipeline.config.compose import composed
from pipeline.deployment.reproduction import LOCK, as_overrides, check_out, compare, environment, find_run, verdict
from pipeline.storage.files import file_sha256
from pipeline.system.errors import PipelineError
from pipeline.system.paths import CODE


def test_overrides_leave_nothing_to_defaults(tmp_path):
    overrides = [
        "backbone=vgg16",
        "backbone.weights=random",
        "augment=light",
        "finetune.unfreeze=-2",
        "finetune.learning_rate=1e-5",
        "dataset=folder",
    ]
    settings = OmegaConf.to_container(composed(overrides))
    settings["dataset"]["path"] = f"{tmp_path}/it's, odd"
    again = OmegaConf.to_container(composed(as_overrides(settings)))
    assert again == settings


def test_figures_are_compared_and_named():
    then = {"test/accuracy": 0.5, "test/loss": 1.0, "seconds/train": 3.0, "train/val_loss": 0.1}
    assert verdict(compare(then, then | {"seconds/train": 9.0}), 1e-6) == "identical"
    assert verdict(compare(then, then | {"test/loss": 1.0 + 1e-7}), 1e-6) == "within tolerance"
    figures = compare(then, {"test/accuracy": 0.6, "test/loss": 1.0})
    assert verdict(figures, 1e-6) == "different"
    assert [each.name for each in figures if each.difference > 1e-6] == ["test/accuracy", "train/val_loss"]


@pytest.mark.parametrize(
    ("then", "now", "said"), [(nan, nan, "identical"), (nan, 0.5, "different"), (0.5, nan, "different")]
)
def test_what_is_no_number_has_to_stay_so(then, now, said):
    figures = [{"test/accuracy": 0.5, "test/loss": value, "train/loss": 0.1} for value in (then, now)]
    assert verdict(compare(*figures), 1e-6) == said


def test_a_run_is_found_by_its_id_or_the_start_of_it():
    one, two = (Experiment(start + "0" * 28, f"run {start}", 0, {}, {}, {}) for start in ("ab12", "ab34"))
    assert find_run(one.run_id, [one, two]) is one
    assert find_run("ab3", [one, two]) is two
    assert find_run(f"runs:/{two.run_id}/model", [one, two]) is two
    with pytest.raises(PipelineError, match=r"'ab' matches several run ids.*ab120000 \(run ab12\), ab340000"):
        find_run("ab", [one, two])
    with pytest.raises(PipelineError, match=r"'c' is not the run id of a complete experiment.*such as ab120000"):
        find_run("c", [one, two])
    with pytest.raises(
        PipelineError, match=r"'c' is not the run id of a complete experiment; give a run id that make ui shows$"
    ):
        find_run("c", [])


def test_the_code_comes_from_the_commit_and_has_to_have_its_lock(tmp_path):
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=CODE, capture_output=True, text=True, check=True
    ).stdout.strip()
    held = subprocess.run(["git", "show", f"HEAD:{LOCK}"], cwd=CODE, capture_output=True, check=True).stdout
    (tmp_path / "lock").write_bytes(held)
    check_out(commit, file_sha256(tmp_path / "lock"), tmp_path / "code")
    assert (tmp_path / "code" / "pipeline" / "__main__.py").exists()
    with pytest.raises(PipelineError, match="exists; delete it"):
        check_out(commit, file_sha256(tmp_path / "lock"), tmp_path / "code")
    with pytest.raises(PipelineError, match=f"with a {LOCK}"):
        check_out(commit, "0" * 64, tmp_path / "other")
    with pytest.raises(PipelineError, match="ffff"):
        check_out("f" * 40, "0" * 64, tmp_path / "third")
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "third").exists()


def test_the_environment_is_made_by_the_clone_and_found_from_any_folder(tmp_path, monkeypatch):
    clone = tmp_path / "clone"
    clone.mkdir()
    # As the project's own does it, without the packages.
    recipe = f".venv/.installed-{LOCK}:\n\t@$(PYTHON) -m venv --without-pip .venv\n"
    (clone / "Makefile").write_text(recipe)
    monkeypatch.chdir(tmp_path)
    python = environment(Path("clone"))
    said = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], cwd="/", capture_output=True, text=True)
    assert said.stdout.strip() == str(clone / ".venv")
    (clone / "Makefile").write_text(recipe.replace("@", "@exit 3; "))
    with pytest.raises(PipelineError, match="could not be created"):
        environment(Path("clone"))
