"""Basic services for all other packages: errors, paths, terminal output, processes and hardware."""

from pipeline.system.user import complete_environment

complete_environment()
