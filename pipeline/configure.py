"""Stage configure, `python -m pipeline.configure`: compose the settings of each stage from conf/ and params.yaml."""

from pipeline.config.compose import configuration
from pipeline.jobs.networks import check_networks
from pipeline.stages.settings import write_settings
from pipeline.system.cli import run_without_arguments


def configure() -> None:
    """Compose conf/ and params.yaml, check them, and write the settings of each stage to outputs/settings/.

    `dvc repro` runs it first. It makes all checks that need no images.
    """
    config = configuration()
    check_networks([config])
    write_settings(config)


if __name__ == "__main__":
    run_without_arguments("configure", configure)
