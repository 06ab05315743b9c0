"""Errors that users can correct."""

from hydra.errors import CompactHydraException


class PipelineError(CompactHydraException):
    """Error that users can correct, with a message that explains how; it is shown without a traceback.

    Hydra prints only the message of a `CompactHydraException`, and continues a sweep after it.
    """

    passes = False
    """Whether the same command can succeed later without changes; a sweep then retries the job automatically."""
    run_status = "FAILED"
    """Status in which the error ends the MLflow run."""

    def _render_traceback_(self) -> list[str]:
        """Return the lines that a notebook shows instead of a traceback."""
        return [str(self)]


class UndeliveredError(PipelineError):
    """Error raised if all results are computed, but the tracking server is unreachable."""

    passes = True


class DivergedError(PipelineError):
    """Error raised if the loss of a training diverges; its run gets the tag `diverged`."""


class PrunedError(PipelineError):
    """Error that stops a trial that is worse than other trials of its search at the same epoch."""

    run_status = "KILLED"
