"""The command blocks of the README and of the pages in docs/, run as printed in a fresh clone on small made images."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from pipeline.system.paths import CODE
from tests.support.checkouts import Checkout
from tests.support.documentation import Block, blocks
from tests.support.images import draw, write_images

README = CODE / "README.md"
PAGES = sorted((CODE / "docs").glob("*.md"))

_SERVES = "serves until it is stopped"
_WEIGHTS = "downloads VGG16's weights, and trains for hours on a CPU"
_NETWORK = "installs packages from the network"
_TEAM = "needs a shared remote; test_team.py does it with folders"
_SERVER = "needs a server; test_server.py starts one"
NOT_RUN = {
    ("README.md", "make ui           # the results in MLflow: http://127.0.0.1:5000"): _SERVES,
    ("article.md", "python -m pipeline experiment=article_vgg16 dataset=folder dataset.path=data/cats_dogs"): _WEIGHTS,
    ("article.md", "python -m pipeline.prepare experiment=article_vgg16 dataset=folder dataset.path=data/cats_dogs"): _WEIGHTS,
    ("article.md", "python -m pipeline.train experiment=article_vgg16 dataset=folder dataset.path=data/cats_dogs"): _WEIGHTS,
    ("article.md", "python -m pipeline.finetune experiment=article_vgg16 dataset=folder dataset.path=data/cats_dogs"): _WEIGHTS,
    ("article.md", "python -m pipeline.report experiment=article_vgg16 dataset=folder dataset.path=data/cats_dogs"): _WEIGHTS,
    ("clusters.md", 'pip install ".[parallel]"'): _NETWORK,
    ("clusters.md", "export TF_CONFIG='{"): "needs two machines; test_workers.py starts two processes",
    ("clusters.md", "#!/bin/bash\n#SBATCH"): "needs SLURM with GPUs",
    ("deployment.md", "make serve                           # the champion"): _SERVES + "; test_register.py asks such a server",
    ("deployment.md", "(printf '{"): "asks the server",
    ("deployment.md", "make demo"): _SERVES,
    ("deployment.md", "python -m pipeline.reproduce <run>"): "needs a run's id, and installs packages; see test_reproduction.py",
    ("dvc.md", "dvc exp run --queue"): "goes on in the background; test_dvc_queue.py waits for it",
    ("gpu.md", "docker run"): "needs Docker and its image",
    ("gpu.md", "python -m benchmarks.gpu"): "needs a GPU; test_gpu_benchmark.py measures the CPU",
    ("mlflow.md", "make ui"): _SERVES,
    ("deployment.md", "model = mlflow"): "needs a run's id; test_serving.py asks a model each way",
    ("mlflow.md", "import mlflow"): "needs a run's id; test_serving.py asks a model each way",
    ("recipes.md", "cp -r new/lily"): "needs a registered model; test_own_model.py starts from a run",
    ("python.md", "import sys"): "names a folder that is not here",
    ("recipes.md", 'pip install ".[hub]"'): "downloads weights; test_hub.py starts from folders",
    ("sweeps.md", 'pip install ".[optuna]"'): _NETWORK,
    ("teams.md", "dvc add data/flowers"): _TEAM,
    ("teams.md", "git clone <address>"): _TEAM,
    ("teams.md", "python -m pipeline cache_folder=/mnt/share/cache"): "needs a shared folder at this path",
    ("teams.md", "mlflow server"): _SERVER,
    ("teams.md", "MLFLOW_TRACKING_URI=https://mlflow.example.org"): _SERVER,
    ("updating.md", "git fetch"): "needs a remote with the branch main",
}  # fmt: skip
"""Blocks that can't run here, by page and start, with the reason."""

SHELLS = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": ["python", "-c"]}
"""Programs that run blocks, by their language."""

# The commands are those of the pages, and params.yaml makes their experiments small. After fewer epochs, probabilities
# are so close to each other that the 8-bit export does not agree.
SMALL = [("\nimage_size:\n", "\nimage_size: 32\n"), ("  epochs:\n", "  epochs: 3\n")]


def reason(page: Path, block: Block) -> str | None:
    """The reason for which a block does not run here."""
    if (page.name, block.language) == ("article.md", "python"):
        return "shows the article's code beside this project's command"
    return next(
        (why for (name, start), why in NOT_RUN.items() if name == page.name and block.text.startswith(start)), None
    )


def test_the_blocks_that_do_not_run_are_there():
    pages = {page.name: page for page in [README, *PAGES]}
    for name, start in NOT_RUN:
        assert [block for block in blocks(pages[name]) if block.language in SHELLS and block.text.startswith(start)], (
            start
        )


def make_environment(folder: Path) -> None:
    """An environment that make takes for complete, with this one's packages and programs."""
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/*/site-packages")
    own = Path(sys.executable).parent
    (packages / "of_the_tests.pth").write_text(f"{next(own.parent.glob('lib/*/site-packages'))}\n")
    (folder / "bin" / "pip").write_text(f"#!{folder}/bin/python\n")
    for program in own.iterdir():
        if not (folder / "bin" / program.name).exists():
            (folder / "bin" / program.name).symlink_to(program)
    for lock in CODE.glob("requirements*.lock"):
        (folder / f".installed-{lock.name}").touch()


def run_page(page: Path, folder: Path) -> int:
    """Run the blocks of a page in order, and write the files in conf/ that it shows; returns how many have run.

    A block of Python runs after those above it in one process, as the cells of a notebook do.
    """
    hidden = ("DVC_", "PYTEST_", "PYTHONPATH", "MLFLOW_TRACKING", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    env["PATH"] = f"{folder}/.venv/bin:{env['PATH']}"
    count, cells = 0, ""
    for block in blocks(page):
        if block.language == "yaml" and (file := re.search(r"^# (conf/\S+\.yaml)", block.text, re.MULTILINE)):
            (folder / file[1]).write_text(block.text)
        elif block.language in SHELLS and not reason(page, block):
            text = block.text
            if block.language == "python":
                text = cells = cells + text
            command = [*SHELLS[block.language], text]
            ran = subprocess.run(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            assert ran.returncode == 0, f"{page.name}:\n{block.text}\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"
            count += 1
    return count


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A clone in which a user has done what the README says, with images in data/flowers and photos/."""
    checkout = Checkout(tmp_path_factory.mktemp("documentation") / "pipeline", "null")
    folder = checkout.folder
    params = (CODE / "params.yaml").read_text()
    for empty, small in SMALL:
        assert empty in params
        params = params.replace(empty, small)
    (folder / "params.yaml").write_text(params)
    checkout.commit("small experiments")
    make_environment(folder / ".venv")
    write_images(folder / "data" / "flowers", per_class=30)
    (folder / "photos").mkdir()
    for number in range(3):
        draw((200, 50, 40), 100 + number).save(folder / "photos" / f"{number}.png")
    assert run_page(README, folder) >= 2
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_as_printed(page, request):
    if not any(block.language in SHELLS and not reason(page, block) for block in blocks(page)):
        pytest.skip("the page has no block that runs here")
    run_page(page, request.getfixturevalue("checkout"))
