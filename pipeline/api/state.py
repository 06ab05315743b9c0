"""State of a notebook's process that Hydra and MLflow have only once."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.core.global_hydra import GlobalHydra

_STORE = "MLFLOW_TRACKING_URI"


@contextmanager
def own_state() -> Iterator[None]:
    """Use Hydra and MLflow within a block, and restore the notebook's own use of them afterwards.

    Otherwise an initialized Hydra would prevent the composition of a configuration, and the store of one call would be
    that of the next one: MLflow writes it to an environment variable, which is a part of the configuration.
    """
    hydra, store = GlobalHydra.instance().hydra, os.environ.get(_STORE)
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings():
            # In a notebook without ipywidgets, the downloads of MLflow's client would warn of it.
            warnings.filterwarnings("ignore", message="IProgress not found")
            yield
    finally:
        GlobalHydra.instance().hydra = hydra
        if mlflow := sys.modules.get("mlflow"):
            mlflow.set_tracking_uri(None)
        if store is not None:
            os.environ[_STORE] = store
