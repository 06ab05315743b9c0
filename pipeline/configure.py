"""Stage configure: compose conf/ and params.yaml into each stage's settings, with `python -m pipeline.configure`."""

from pipeline.config.compose import configuration
from pipeline.stages.settings import write_settings
from pipeline.system.cli import run_command

if __name__ == "__main__":
    run_command(lambda: write_settings(configuration()))
