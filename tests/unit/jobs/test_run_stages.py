"""Results in outputs/ that are of other code, or incomplete, are left alone."""

from pipeline.jobs.run_stages import log_outputs
from pipeline.stages.settings import write_settings


def test_settings_of_other_code_are_no_error(configure, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = configure()
    assert not log_outputs(config)
    write_settings(config)
    assert not log_outputs(config)
    file = tmp_path / "outputs" / "settings" / "config.yaml"
    file.write_text(file.read_text() + "a_key_of_the_future: 1\n")
    assert not log_outputs(config)
