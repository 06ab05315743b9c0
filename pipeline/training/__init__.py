"""The fit loop of both phases, and the features of the frozen part."""
