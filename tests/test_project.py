"""What the project promises about its own files."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

from pipeline.stages import STAGES, declaration
from pipeline.system.paths import CODE

# What carries numbers between stages and makes none: no stage declares it.
FOUNDATION = ("pipeline/system", "pipeline/storage", "pipeline/config", "pipeline/stages/settings.py")


def imports(file: Path) -> set[Path]:
    """The modules of this package that a file imports, at any place in it, and the packages that they are in."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            places = (
                [CODE.joinpath(*parts[: count + 1]) for count in range(len(parts))] if parts[0] == "pipeline" else []
            )
            modules |= {place / "__init__.py" for place in places if (place / "__init__.py").exists()}
            modules |= {place.with_suffix(".py") for place in places if place.with_suffix(".py").exists()}
    return modules


def closure(file: Path) -> set[str]:
    """All modules that come with a file."""
    seen, waiting = set(), [file]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += imports(current)
    return {module.relative_to(CODE).as_posix() for module in seen}


def test_imports_are_found_wherever_they_are(tmp_path):
    (tmp_path / "module.py").write_text(
        "import pipeline.data.drift\n"
        "if True:\n    from pipeline.models import freezing\n"
        "def f():\n    from pipeline.visuals.style import write_png\n"
    )
    assert {path.relative_to(CODE).as_posix() for path in imports(tmp_path / "module.py")} == {
        "pipeline/__init__.py", "pipeline/data/__init__.py", "pipeline/data/drift.py", "pipeline/models/__init__.py",
        "pipeline/models/freezing.py", "pipeline/visuals/__init__.py", "pipeline/visuals/style.py",
    }  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_imports_is_its_declared_code_or_the_foundation(stage):
    declared = (*declaration(stage).code, *FOUNDATION)
    modules = closure(CODE / "pipeline" / "stages" / f"{stage}.py")
    assert f"pipeline/stages/{stage}.py" in modules
    outside = {
        module
        for module in modules
        if not module.endswith("/__init__.py")
        and not any(module == place or module.startswith(f"{place}/") for place in declared)
    }
    assert outside == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_a_few_folders_each_of_which_it_imports(stage):
    code = declaration(stage).code
    modules = closure(CODE / "pipeline" / "stages" / f"{stage}.py")
    assert len(code) <= 6
    used = {place for place in code if any(module == place or module.startswith(f"{place}/") for module in modules)}
    # Stage report's run in MLflow is completed by whoever runs it.
    assert set(code) - used <= {"pipeline/tracking"}
    others = {f"pipeline/stages/{other}.py" for other in STAGES if other != stage}
    assert not modules & others


def test_the_root_of_the_package_holds_commands_alone():
    for file in (CODE / "pipeline").glob("*.py"):
        if file.name != "__init__.py":
            text = file.read_text()
            assert 'if __name__ == "__main__":\n' in text, file
            assert len(text.splitlines()) <= 150, file
    commands = {f"pipeline/{file.name}" for file in (CODE / "pipeline").glob("*.py")} - {"pipeline/__init__.py"}
    for file in (CODE / "pipeline").rglob("*.py"):
        assert not {module.relative_to(CODE).as_posix() for module in imports(file)} & commands, file


def test_no_module_of_the_package_is_imported_by_a_name_in_a_text():
    for file in (CODE / "pipeline").rglob("*.py"):
        names = {node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)}
        names |= {
            alias.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not names & {"importlib", "importlib.import_module", "runpy"}, file
        assert "__import__(" not in file.read_text(), file


@pytest.mark.parametrize("stage", ["configure", "watch"])
def test_light_stages_load_no_heavy_library(stage, command):
    ran = command(
        "timeit",
        "-n1",
        "-r1",
        f"import sys, pipeline.{stage}; print(sorted({{m.split('.')[0] for m in sys.modules}}))",
    )
    assert ran.returncode == 0, ran.stderr
    assert not {"tensorflow", "keras", "mlflow", "pandas", "sklearn", "matplotlib"} & set(
        ast.literal_eval(ran.stdout.splitlines()[0])
    )


EXPERIMENTS = ["train", "__main__", "find_lr", "probe"]
TOOLS = ["predict", "export", "register", "reproduce", "demo", "compare", "cache", "sync", "embed"]


@pytest.mark.parametrize("stage", STAGES)
def test_each_stages_command_only_starts_it(stage):
    """So that it is enough to test one of them."""
    file = CODE / "pipeline" / f"{stage}.py"
    assert imports(file) - {CODE / "pipeline" / "__init__.py"} == {
        CODE / "pipeline" / "jobs" / "__init__.py",
        CODE / "pipeline" / "jobs" / "launch.py",
    }
    assert f'main("{stage}")' in file.read_text()


@pytest.mark.parametrize("name", [*EXPERIMENTS, *TOOLS])
def test_help_does_not_wait_for_what_takes_seconds_to_import(name, command):
    module = "pipeline" if name == "__main__" else f"pipeline.{name}"
    ran = command(module, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert ran.returncode == 0, ran.stderr
    assert name in TOOLS or "finetune" in ran.stdout
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert not {"tensorflow", "keras", "mlflow", "sklearn"} & imported


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare"],
        ["register"],
        ["register", "--rollback"],
        ["predict", "runs:/0123/model", "image.png"],
        ["export", "missing.keras"],
        ["demo", "missing.keras"],
        ["reproduce", "0123"],
        ["cache"],
        ["sync", "--folder", "cache"],
    ],
    ids=" ".join,
)
def test_tensorflow_is_not_imported_before_it_is_needed(arguments, command, empty_store, tmp_path):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    ran = command(f"pipeline.{arguments[0]}", *arguments[1:], PYTHONPROFILEIMPORTTIME="1")
    assert "Traceback" not in ran.stderr
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "hydra" in imported
    assert not {"tensorflow", "keras"} & imported


def test_locks_hold_hashes_and_no_addresses():
    for lock in CODE.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text
        assert "--index" not in text
        pinned = [line for line in text.splitlines() if "==" in line]
        assert len(pinned) > 100
        assert text.count("--hash=sha256:") >= len(pinned)


def test_locks_agree_and_satisfy_the_project():
    pins = {
        lock.name: {line.rstrip(" \\") for line in lock.read_text().splitlines() if "==" in line}
        for lock in CODE.glob("requirements*.lock")
    }
    assert pins["requirements.lock"] <= pins["requirements-dev.lock"]
    assert pins["requirements.lock"] <= pins["requirements-gpu.lock"]
    named = {line.split("==")[0].lower() for line in pins["requirements-gpu.lock"] | pins["requirements-dev.lock"]}
    project = tomllib.loads((CODE / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert all(requirement.split("[")[0].split(">")[0].split("=")[0].lower() in named for requirement in wanted)
    assert any(line.startswith("nvidia-cudnn") for line in pins["requirements-gpu.lock"])


@pytest.mark.slow
@pytest.mark.parametrize("command", re.findall(r"^\tuv (.*)", (CODE / "Makefile").read_text(), re.MULTILINE))
def test_a_resolver_finds_the_pins_of_each_lock(command):
    *options, lock = command.split()
    asked = [option for option in options if option not in ("--generate-hashes", "--output-file")]
    ran = subprocess.run(["uv", *asked, "--constraint", lock], cwd=CODE, capture_output=True, text=True)
    if "Failed to fetch" in ran.stderr:
        pytest.skip("the package registry can't be reached")
    assert ran.returncode == 0, ran.stderr
    pins = [line.rstrip(" \\") for line in (CODE / lock).read_text().splitlines() if "==" in line]
    assert [line for line in ran.stdout.splitlines() if "==" in line] == pins


def test_mlflows_telemetry_is_off_whichever_module_imports_mlflow():
    """MLflow looks when it is imported, which this module does before any other of the package."""
    code = "import pipeline.comparison.experiments; from mlflow.telemetry.client import get_telemetry_client as client; print(client())"
    unset = {"MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"}
    env = {name: value for name, value in os.environ.items() if name not in unset}
    ran = subprocess.run([sys.executable, "-c", code], cwd=CODE, env=env, capture_output=True, text=True)
    assert ran.stdout.strip() == "None", ran.stdout + ran.stderr


def test_analytics_are_off_and_no_machines_path_is_in_the_project():
    assert "analytics = false" in (CODE / ".dvc" / "config").read_text()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CODE, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, tracked):
        if (CODE / name).exists() and name not in ("LICENSE", "tests/test_project.py"):
            text = (CODE / name).read_text(encoding="utf-8", errors="ignore")
            assert not any(place in text for place in ("/root/", "/home/", "/tmp/")), name
