"""What `make repro` does around DVC, with an environment that is there."""

import os
import shutil
import subprocess

import pytest

from pipeline.system.paths import CODE


@pytest.fixture
def checkout(tmp_path):
    """A folder with the Makefile and an environment whose dvc prints its arguments."""
    shutil.copy(CODE / "Makefile", tmp_path)
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "pip").write_text(f"#!{tools}/python\n")
    for name, text in (("python", 'echo python "$@"'), ("dvc", 'echo dvc "$@"')):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    for lock in ("requirements.lock", "requirements-gpu.lock"):
        (tmp_path / lock).touch()
        os.utime(tmp_path / lock, (1, 1))
        (tmp_path / ".venv" / f".installed-{lock}").touch()
    return tmp_path


def made(folder) -> list[str]:
    ran = subprocess.run(["make", "--silent", "-C", folder, "repro"], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_a_downloaded_archive_is_run_by_dvc_without_git(checkout):
    assert made(checkout) == ["dvc config --local core.no_scm true", "dvc repro"]


def test_a_checkout_of_git_is_left_as_it_is(checkout):
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    assert made(checkout) == ["dvc repro"]


def test_the_result_is_printed_where_there_is_one(checkout):
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    (checkout / "outputs" / "evaluate").mkdir(parents=True)
    (checkout / "outputs" / "evaluate" / "metrics.json").touch()
    assert made(checkout) == ["dvc repro", "python -m pipeline.result"]


def test_the_environment_of_another_checkout_is_left_as_it_is(checkout, tmp_path):
    other = tmp_path / "other"
    (checkout / ".venv").rename(other)
    (checkout / ".venv").symlink_to(other)
    (other / "bin" / "pip").write_text(f"#!{other}/bin/python\n")
    before = sorted(other.rglob("*"))
    ran = subprocess.run(["make", "-C", checkout, "repro"], capture_output=True, text=True)
    assert ran.returncode == 2
    assert f".venv is a link to {other}: remove the link" in ran.stderr
    assert sorted(other.rglob("*")) == before


def test_an_environment_that_was_moved_is_made_anew(checkout):
    (checkout / ".venv" / "bin" / "pip").write_text("#!/elsewhere/.venv/bin/python\n")
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    planned = subprocess.run(["make", "-n", "-C", checkout, "repro"], capture_output=True, text=True, check=True).stdout
    assert "-m venv --clear .venv" in planned
    assert "pip install" in planned
    assert planned.index("pip install") < planned.index("dvc repro")
