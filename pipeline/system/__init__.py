"""The foundation: errors, paths, terminal, signals, this machine."""
