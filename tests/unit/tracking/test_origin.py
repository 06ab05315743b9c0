"""Who ran what: the tags of a run on machines with and without git, names and owners."""

import getpass
import logging
import os
import shutil
import subprocess

import pytest

from pipeline.system.paths import CODE
from pipeline.tracking import origin as module
from pipeline.tracking.origin import origin
from pipeline.tracking.tags import CODE_SHA256


@pytest.fixture(autouse=True)
def fresh():
    """Nothing is remembered of other tests."""
    yield module._commit.cache_clear()
    module._commit.cache_clear()


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """The code without git, as in a downloaded archive."""
    for name in ("conf", "dvc.yaml"):
        (shutil.copytree if (CODE / name).is_dir() else shutil.copy)(CODE / name, tmp_path / name)
    (tmp_path / "pipeline").mkdir()
    monkeypatch.setattr(module, "CODE", tmp_path)
    monkeypatch.setattr(module, "_code", module._code.__wrapped__)
    return tmp_path


def git(folder, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder) -> str:
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


def test_a_commit_is_recorded_with_the_digest_of_the_code(archive):
    expected = commit(archive)
    tags = origin()
    assert (tags["git_commit"], tags["mlflow.source.git.commit"], tags["git_dirty"]) == (expected, expected, "false")
    before = tags[CODE_SHA256]
    (archive / "dvc.yaml").write_text("changed")
    assert origin()["git_dirty"] == "true"
    assert len(before) == 64
    assert origin()[CODE_SHA256] != before


@pytest.mark.parametrize("inside", [False, True], ids=["no repository", "in a folder of another repository"])
def test_code_without_git_is_named_by_its_digest_and_that_is_said_once(archive, caplog, inside):
    if inside:
        git(archive, "init", "--quiet")
        (archive / "other").touch()
        git(archive, "add", "other")
        git(archive, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "other")
    with caplog.at_level(logging.WARNING, "pipeline"):
        tags = [origin(), origin()][1]
    assert "git_commit" not in tags
    assert len(tags[CODE_SHA256]) == 64
    assert caplog.text.count("git_commit is not recorded") == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_another_owner_is_said_with_the_command_that_helps(archive, caplog, monkeypatch):
    commit(archive)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for path in (archive, archive / ".git"):
        os.chown(path, 12345, 12345)
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert "git_commit" not in origin()
    assert f"git config --global --add safe.directory '{archive}' allows it" in caplog.text


def test_a_machine_without_git(archive, caplog, monkeypatch):
    monkeypatch.setenv("PATH", str(archive))
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert "git_commit" not in origin()
    assert "git is not installed" in caplog.text


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("no user")])
def test_a_user_without_a_name_is_a_number(monkeypatch, error):
    def fail() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", fail)
    assert origin()["mlflow.user"] == str(os.getuid())
