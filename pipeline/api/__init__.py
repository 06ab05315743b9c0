"""Experiments in Python and notebooks: run one, open its results, and compare several; see docs/python.md."""

from pipeline.api.compare import compare as compare
from pipeline.api.experiment import run_experiment as run_experiment
from pipeline.api.page import Page as Page
from pipeline.api.run import Run as Run
from pipeline.api.run import open_run as open_run
