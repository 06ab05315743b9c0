"""`python -m pipeline.cache` on a finished experiment: names, uses, and pruning."""

import shutil
from dataclasses import replace

import pytest

from pipeline import cache as cache_command
from pipeline.disk.contents import contents, job_folders
from pipeline.stages import STAGES
from tests.support.experiments import run_stages
from tests.support.in_process import call


@pytest.fixture
def folder(experiment, tmp_path, monkeypatch):
    """A copy of the experiment's cache."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(experiment.config.cache_folder, tmp_path / "cache")


def test_results_have_the_name_of_the_run_and_everything_is_used(experiment, folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    store = f"tracking.uri={experiment.config.tracking.uri}"
    assert call(cache_command.main, f"cache_folder={folder}", store, "--all") is None
    printed = capsys.readouterr().out
    name = experiment.client.get_run(experiment.run_id).info.run_name
    for stage in STAGES:
        # Long names are shortened in the middle.
        [line] = [line for line in printed.splitlines() if line.startswith(f"result of {stage} ")]
        assert name.partition(",")[0] in line
        assert name[-6:] in line
    assert "MLflow: models" in printed
    assert "Unused" not in printed

    found = contents(folder, job_folders(folder))
    parts = {"results of stages", "decoded images", "features", "predictions", "similar images"}
    assert {content.part for content in found} == parts
    assert {(*content.experiments, content.jobs) for content in found} == {(name, 1)}


def test_a_pruned_cache_is_filled_again(experiment, folder, tmp_path, capsys):
    assert call(cache_command.main, f"cache_folder={folder}", "--prune", "1KB", "--dry-run") is None
    assert "results of stages: 5 would be removed" in capsys.readouterr().out
    assert len(list((folder / "stages").glob("[!.]*"))) == 5
    assert call(cache_command.main, "--folder", str(folder), "--prune", "0 MiB") is None
    assert "results of stages: 5 removed" in capsys.readouterr().out
    assert contents(folder, []) == []
    assert experiment.root.exists()

    run_stages(replace(experiment.config, cache_folder=str(folder)), tmp_path / "again", "prepare")
    again = tmp_path / "again" / "prepare" / "manifest.parquet"
    assert again.read_bytes() == (experiment.root / "prepare" / "manifest.parquet").read_bytes()
    assert [content.what for content in contents(folder, [])] == ["result of prepare"]


@pytest.mark.parametrize("arguments", [["--prune", "many"], ["--prune", "1.2.3 GB"], ["--prune", "5"], ["--dry-run"]])
def test_wrong_arguments_are_named(arguments, capsys):
    assert call(cache_command.main, *arguments) == 2
    assert arguments[-1] in capsys.readouterr().err
