"""The one kind of error that is the user's to mend."""

from hydra.errors import CompactHydraException


class PipelineError(CompactHydraException):
    """What was given, what is allowed, and what to do; shown without a traceback.

    Hydra prints a `CompactHydraException` as its message alone and goes on with the rest of a sweep.
    """

    passes = False
    """Whether the same command succeeds later without anything being changed: a sweep then tries again by itself."""
    run_status = "FAILED"
    """Of the run in MLflow that it ends."""


class UndeliveredError(PipelineError):
    """All was computed, and the tracking store is away."""

    passes = True


class DivergedError(PipelineError):
    """A training that learned nothing any more was ended; its run is marked so."""
