"""What the project promises about its own files."""

import ast
import subprocess
import tomllib
from itertools import chain

import pytest
import yaml

from pipeline.system.paths import CODE

STAGES = yaml.safe_load((CODE / "dvc.yaml").read_text())["stages"]


def imports(file):
    """The modules of this package that a file imports, at any place in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            place = CODE / name.replace(".", "/")
            for module in (place.with_suffix(".py"), place / "__init__.py"):
                if name.startswith("pipeline.") and module.exists():
                    yield module


def closure(file):
    seen, waiting = set(), [file, CODE / "pipeline" / "__init__.py"]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += imports(current)
    # A package with code of its own counts with all that lies in it, such as templates; but not the one that holds all stages.
    places = (
        module.parent if module.name == "__init__.py" and module.parent != CODE / "pipeline" else module
        for module in seen
    )
    return {place.relative_to(CODE).as_posix() for place in places}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_each_module_that_it_imports(stage):
    listed = {dep for dep in STAGES[stage]["deps"] if dep.startswith("pipeline")}
    assert listed == {"pipeline"} or listed == closure(CODE / "pipeline" / f"{stage}.py")


@pytest.mark.parametrize("stage", ["prepare", "train", "finetune", "evaluate"])
def test_stages_never_import_each_other(stage):
    others = {f"pipeline/{name}.py" for name in STAGES if name != stage}
    assert not closure(CODE / "pipeline" / f"{stage}.py") & others


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


EXPERIMENTS = ["prepare", "train", "finetune", "evaluate", "__main__", "find_lr"]
TOOLS = ["predict", "export", "register", "reproduce", "demo", "compare", "cache", "sync"]


@pytest.mark.parametrize("name", [*EXPERIMENTS, *TOOLS])
def test_help_does_not_wait_for_what_takes_seconds_to_import(name, command):
    module = "pipeline" if name == "__main__" else f"pipeline.{name}"
    ran = command(module, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert ran.returncode == 0, ran.stderr
    assert name in TOOLS or "finetune" in ran.stdout
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert not {"tensorflow", "keras", "mlflow", "sklearn"} & imported


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
        lock.name: set(line.rstrip(" \\") for line in lock.read_text().splitlines() if "==" in line)
        for lock in CODE.glob("requirements*.lock")
    }
    assert pins["requirements.lock"] <= pins["requirements-dev.lock"]
    assert pins["requirements.lock"] <= pins["requirements-gpu.lock"]
    named = {line.split("==")[0].lower() for line in pins["requirements-gpu.lock"] | pins["requirements-dev.lock"]}
    project = tomllib.loads((CODE / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert all(requirement.split("[")[0].split(">")[0].split("=")[0].lower() in named for requirement in wanted)
    assert any(line.startswith("nvidia-cudnn") for line in pins["requirements-gpu.lock"])


def test_analytics_are_off_and_no_machines_path_is_in_the_project():
    assert "analytics = false" in (CODE / ".dvc" / "config").read_text()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=CODE, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, tracked):
        if (CODE / name).exists() and name not in ("LICENSE", "tests/test_project.py"):
            text = (CODE / name).read_text(encoding="utf-8", errors="ignore")
            assert not any(place in text for place in ("/root/", "/home/", "/tmp/")), name


def test_the_readme_is_short():
    assert len((CODE / "README.md").read_text().splitlines()) < 150
