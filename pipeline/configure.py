"""Stage configure, `python -m pipeline.configure`: compose the settings of each stage from conf/ and params.yaml."""

from pipeline.config.compose import configuration
from pipeline.stages.settings import write_settings
from pipeline.system.cli import run_command

if __name__ == "__main__":
    run_command(lambda: write_settings(configuration()))
