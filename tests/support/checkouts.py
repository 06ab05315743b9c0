"""A clone of this repository in which the real DVC runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import yaml
from mlflow.entities import Run

from pipeline import stages
from pipeline.system.paths import CODE

STAGES = ("configure", "watch", *stages.STAGES)
PARAMS = """# A comment that stays.
experiment: null
seed: null
image_size: 32
dataset: {{name: folder, path: {images}, test: null}}
backbone: scratch_cnn
augment: {{name: null, views: null}}
train: {{name: null, epochs: 1, batch_size: null, learning_rate: null}}
finetune: {{name: null, epochs: 1, learning_rate: null, unfreeze: null}}
evaluate: null
hardware: {{name: null, precision: null}}
tracking: {{name: null, uri: null, experiment: null}}
"""


class Checkout:
    """A clone of the code as it is now, uncommitted changes included, where DVC runs."""

    def __init__(self, folder: Path, images: Path | str):
        """Clone into `folder`; `images` is its data set."""
        self.folder = folder
        subprocess.run(["git", "clone", "-q", CODE, folder], check=True)
        changed = (
            self._git("-C", CODE, "diff", "--name-only", "--no-renames", "HEAD").split()
            + self._git("-C", CODE, "ls-files", "-o", "--exclude-standard").split()
        )
        for name in changed:
            (folder / name).unlink(missing_ok=True)
            if (CODE / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((CODE / name).read_bytes())
        (folder / "params.yaml").write_text(PARAMS.format(images=images))
        self._git("config", "user.email", "test@example.org")
        self._git("config", "user.name", "test")
        self.commit("start")

    @classmethod
    def at(cls, folder: Path) -> "Checkout":
        """The checkout that is in `folder` already."""
        checkout = cls.__new__(cls)
        checkout.folder = folder
        return checkout

    def status(self) -> str:
        """What git takes for changed."""
        return self._git("status", "--porcelain")

    def difference(self, name: str) -> str:
        """How a file differs from the last commit."""
        return self._git("diff", "--unified=0", name)

    def discard(self) -> None:
        """Return to the last commit."""
        self._git("reset", "-q", "--hard")

    def _git(self, *arguments) -> str:
        return subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def commit(self, message: str) -> None:
        """Commit all that has changed."""
        self._git("add", "-A")
        self._git("commit", "-q", "--allow-empty", "-m", message)

    def dvc(self, *arguments: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE) -> str:
        """Run one of DVC's commands, which has to succeed; returns what it prints."""
        return self.python("dvc", *arguments, stdout=stdout, stderr=stderr)

    def python(self, *arguments: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE) -> str:
        """Run a module, which has to succeed; returns what it prints."""
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DVC_", "PYTEST_", "PYTHONPATH", "MLFLOW_TRACKING"))
        }
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        command = [sys.executable, "-m", *arguments]
        ran = subprocess.run(command, cwd=self.folder, env=env, stdout=stdout, stderr=stderr, text=True)
        output = (ran.stdout or "") + (ran.stderr or "")
        assert ran.returncode == 0, output
        return output

    def pretend(self, contents: dict[str, str] | None = None) -> None:
        """Make DVC take all stages for up to date, with made outputs: those named by their path, the others empty."""
        for stage in yaml.safe_load((self.folder / "dvc.yaml").read_text())["stages"].values():
            for output in stage["outs"] + stage.get("metrics", []):
                (self.folder / output).parent.mkdir(parents=True, exist_ok=True)
                # A file may be a hard link into DVC's cache.
                (self.folder / output).unlink(missing_ok=True)
                (self.folder / output).write_text((contents or {}).get(output.removeprefix("outputs/"), "{}"))
        self.dvc("commit", "--force")

    def repro(self) -> set[str]:
        """Run what is not up to date; returns the stages that ran."""
        return self.stages_run(self.dvc("repro"))

    @staticmethod
    def stages_run(output: str) -> set[str]:
        """The stages that ran by DVC's output."""
        return {stage for stage in STAGES if f"Running stage '{stage}'" in output}

    def changed(self) -> set[str]:
        """The stages of which DVC sees other code, settings or inputs than those of their last run."""
        status = json.loads(self.dvc("status", "--json", stderr=subprocess.DEVNULL))
        return {stage for stage, changes in status.items() if changes != ["always changed"]}

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file."""
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def experiments(self) -> list[Run]:
        """The complete runs in this checkout's store, the latest first."""
        client = mlflow.MlflowClient(f"sqlite:///{self.folder}/mlflow.db")
        return [run for run in client.search_runs(["1"]) if run.data.tags.get("complete") == "true"]
