"""Environment variables by which jobs and processes communicate."""

import json
import os

from pipeline.system.errors import PipelineError

SWEEP = "PIPELINE_SWEEP"
"""Variable with the name of the sweep that a job belongs to: its command line."""
TRIAL = "PIPELINE_TRIAL"
"""Variable with a job's trial as JSON (see `pipeline.jobs.trial`); Hydra passes it to other processes and machines."""
TF_CONFIG_EXAMPLE = (
    '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, '
    "on each machine with its own index"
)
"""A value of TF_CONFIG, for error messages."""


def worker_index() -> int:
    """Return this process's number among the workers of a training: 0 for the chief, and where there are no others.

    Raises:
        PipelineError: TF_CONFIG is not in TensorFlow's format.
    """
    text = os.environ.get("TF_CONFIG")
    try:
        task = json.loads(text)["task"] if text else {"index": 0}
        return int(task["index"]) if task.get("type", "worker") == "worker" else 0
    except (ValueError, KeyError, TypeError) as error:
        raise PipelineError(f"TF_CONFIG: invalid value {text!r} ({error}); expected {TF_CONFIG_EXAMPLE}") from error
