"""What a network refuses, answered before any job."""

import pytest

from pipeline.config import compose as composition
from pipeline.config.compose import network_configurations, with_params
from pipeline.jobs import networks
from pipeline.jobs.networks import check_networks
from pipeline.system.errors import PipelineError


@pytest.fixture
def builds(monkeypatch):
    """Count the processes that build networks."""
    started, build = [], networks._problems_elsewhere

    def counted(settings):
        started.append(len(settings))
        return build(settings)

    monkeypatch.setattr(networks, "_problems_elsewhere", counted)
    return started


def test_depths_are_checked_together_and_good_ones_once(configure, builds):
    good, far, unknown, rounds = (
        configure("backbone=scratch_cnn", override)
        for override in (
            "finetune.unfreeze=block2",
            "finetune.unfreeze=-9",
            "finetune.unfreeze=nonsense",
            "finetune.phases=[{unfreeze: all}, {unfreeze: -1}]",
        )
    )
    with pytest.raises(PipelineError) as caught:
        check_networks([good, far, unknown, rounds, good])
    text = str(caught.value)
    assert "finetune.unfreeze: -9 is not allowed; this backbone has layers 0 to 8 and blocks -1 to -4" in text
    assert "'nonsense' is not a block or layer of this backbone" in text
    assert "order the rounds so that none freezes trained layers" in text
    assert text.count("finetune.") == 3
    check_networks([good])
    assert builds == [4]


def test_what_needs_no_network_starts_no_process(configure, builds):
    check_networks([configure("backbone=vgg16", "backbone.weights=random"), configure("finetune.unfreeze=none")])
    assert builds == []


def test_a_single_job_checks_its_network_in_its_own_process(configure, builds, capfd):
    with pytest.raises(PipelineError, match="'nonsense' is not a block or layer"):
        check_networks([configure("backbone=scratch_cnn", "finetune.unfreeze=nonsense")], job_follows=True)
    check_networks([configure("backbone=vgg16", "backbone.weights=random", "finetune.unfreeze=15")], job_follows=True)
    assert builds == []
    # The job itself warns of random weights.
    assert "nothing is transferred" not in capfd.readouterr().err


def test_several_networks_are_named_and_their_weights_are_read(configure, builds, tmp_path):
    file = tmp_path / "other.weights.h5"
    file.write_bytes(b"no weights")
    configs = [
        configure("backbone=scratch_cnn", f"backbone.weights={file}"),
        configure("backbone=vgg16", "backbone.weights=random", "finetune.unfreeze=blok5"),
    ]
    with pytest.raises(PipelineError) as caught:
        check_networks(configs)
    assert f"scratch_cnn: backbone.weights: '{file}' does not fit scratch_cnn" in str(caught.value)
    assert "vgg16: finetune.unfreeze: 'blok5' is not a block or layer of this backbone; did you mean block5?" in str(
        caught.value
    )
    assert builds == [2]


def test_each_depth_meets_each_backbone(tmp_path, monkeypatch):
    monkeypatch.setattr(composition, "PARAMS", tmp_path / "params.yaml")
    sweep = ["backbone=vgg16,resnet50", "finetune.unfreeze=-1,block5", "seed=1,2", "train.epochs=1,2"]
    found = network_configurations(with_params(sweep))
    pairs = [(config.backbone.name, config.finetune.unfreeze) for config in found]
    assert pairs == [("vgg16", -1), ("vgg16", "block5"), ("resnet50", -1), ("resnet50", "block5")]
