"""Paths in the main checkout, and in the copies in which DVC runs queued experiments."""

from pathlib import Path

from pipeline.system.paths import CODE, lasting


def test_in_the_copy_of_a_dvc_experiment_the_main_checkouts_path_lasts(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert lasting(CODE / "outputs" / "prepare") == tmp_path / "outputs" / "prepare"
    assert lasting(Path("/elsewhere/job")) == Path("/elsewhere/job")


def test_in_the_main_checkout_every_path_lasts(monkeypatch):
    for root in (None, str(CODE)):
        monkeypatch.delenv("DVC_ROOT", raising=False) if root is None else monkeypatch.setenv("DVC_ROOT", root)
        assert lasting(CODE / "outputs") == CODE / "outputs"
