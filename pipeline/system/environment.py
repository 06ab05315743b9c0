"""Environment variables that jobs and processes talk by."""

import json
import os

from pipeline.system.errors import PipelineError

SWEEP = "PIPELINE_SWEEP"
"""Names the sweep that a job belongs to: its command line."""

TRIAL = "PIPELINE_TRIAL"
"""Names the trial to a job: {"study", "storage", "id", "number", "report"} as JSON; Hydra carries it to other processes and machines."""


TF_CONFIG_EXAMPLE = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, on each machine with its own index'


def worker_index() -> int:
    """This process's number among the workers; 0, the chief's, also where there are no others.

    Raises:
        PipelineError: TF_CONFIG is not what TensorFlow takes.
    """
    text = os.environ.get("TF_CONFIG")
    try:
        task = json.loads(text)["task"] if text else {"index": 0}
        return int(task["index"]) if task.get("type", "worker") == "worker" else 0
    except (ValueError, KeyError, TypeError) as error:
        raise PipelineError(f"TF_CONFIG: {text!r} is not allowed ({error}); it takes {TF_CONFIG_EXAMPLE}") from error
