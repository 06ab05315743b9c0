"""Basic services for all other packages: errors, paths, terminal output, processes and hardware."""
