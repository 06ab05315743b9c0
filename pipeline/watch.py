"""Stage watch, `python -m pipeline.watch`: compute digests of the images and the weights file to detect changes.

DVC always runs this stage, so its imports are few and fast.
"""

from pipeline.jobs.identity import outside_digests, write_digests, write_key
from pipeline.stages.settings import read_config
from pipeline.system.cli import run_without_arguments


def watch() -> None:
    """Write the digests of the images and of the weights file, and the experiment's key, to outputs/watch/.

    `dvc repro` always runs it, so that changed files are seen. Files that have not changed are not read again.
    """
    config = read_config()
    digests = outside_digests(config)
    write_digests(digests)
    write_key(config, digests)


if __name__ == "__main__":
    run_without_arguments("watch", watch)
