"""Errors that the user can correct."""

from hydra.errors import CompactHydraException


class PipelineError(CompactHydraException):
    """An error whose message gives the invalid value, the allowed ones, and what to do; shown without a traceback.

    Hydra prints only the message of a `CompactHydraException`, and continues a sweep after it.
    """

    passes = False
    """Whether the same command can succeed later without any change; a sweep then tries again by itself."""
    run_status = "FAILED"
    """Status of the MLflow run that the error ends."""


class UndeliveredError(PipelineError):
    """Everything was computed, but the tracking server is unreachable."""

    passes = True


class DivergedError(PipelineError):
    """A training whose loss diverged was stopped; its run is marked accordingly."""


class PrunedError(PipelineError):
    """A trial was worse than the others of its search by this epoch."""

    run_status = "KILLED"
