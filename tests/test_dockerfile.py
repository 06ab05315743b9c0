"""The image: what it copies is there, and it is made by the Makefile's own commands."""

import fnmatch
import os
import re
import subprocess

import pytest

from pipeline.system.paths import CODE

LINES = (CODE / "Dockerfile").read_text().splitlines()
IGNORED = [line for line in (CODE / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]


def arguments(instruction: str) -> list[str]:
    """What follows each use of an instruction."""
    return [line.removeprefix(instruction).strip() for line in LINES if line.startswith(f"{instruction} ")]


def test_every_file_that_is_copied_exists_and_is_not_ignored():
    copied = [word for each in arguments("COPY") for word in each.split()[:-1] if not word.startswith("--")]
    assert copied == ["Makefile", "requirements.lock", "requirements-gpu.lock", "."]
    # What make repro needs of the whole checkout.
    needed = [
        *copied,
        "pipeline",
        "conf",
        "params.yaml",
        "dvc.yaml",
        ".dvc",
        ".dvcignore",
        "hydra_plugins",
        "pyproject.toml",
    ]
    for name in needed:
        assert (CODE / name).exists(), name
        assert not any(fnmatch.fnmatch(name, pattern) for pattern in IGNORED), name


def test_commands_are_targets_of_the_makefile_but_for_the_user_and_folders():
    targets = set(re.findall(r"^([a-z-]+):", (CODE / "Makefile").read_text(), re.MULTILINE))
    run = [command.split() for each in arguments("RUN") for command in each.split(" && ")]
    commands = [*run, re.findall(r'"([^"]+)"', arguments("CMD")[0])]
    assert [command[0] for command in commands] == ["useradd", "make", "touch", "mkdir", "make"]
    assert {command[1] for command in commands if command[0] == "make"} <= targets


def test_the_base_image_is_pinned_and_the_user_is_not_root():
    [base] = arguments("FROM")
    assert re.fullmatch(r"python:3\.11-bookworm@sha256:[0-9a-f]{64}", base)
    [user] = arguments("USER")
    assert user != "root"
    # Packages and files belong to the user, since each later step is the user's.
    assert LINES.index(f"USER {user}") < min(LINES.index(line) for line in LINES if line.startswith("COPY"))
    assert all(each.startswith(f"--chown={user} ") for each in arguments("COPY"))


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-gpu.lock"])
def test_make_installs_the_lock_that_the_build_names(lock, tmp_path):
    flags = re.fullmatch(r'MAKEFLAGS="(.*)"', arguments("ENV")[0])[1].replace("${LOCK}", lock)
    environment = os.environ | {"MAKEFLAGS": flags}
    for target in ("setup", "repro"):
        ran = subprocess.run(
            ["make", "--dry-run", "VENV=elsewhere", "-C", CODE, target], env=environment, capture_output=True, text=True
        )
        assert re.findall(r"-r (\S+)", ran.stdout) == [lock], ran.stderr
