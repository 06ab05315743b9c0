"""Short descriptions of what differs between jobs."""

from pipeline.sweeps.labels import label, labels


def test_only_what_differs_is_in_a_label():
    jobs = [["seed=1", "backbone=vgg16", f"finetune.unfreeze={depth}", "hydra.job.num=3"] for depth in (-1, -2)]
    assert labels(jobs) == ["unfreeze -1", "unfreeze -2"]
    assert labels([["augment=none"], ["augment=light"]]) == ["augment none", "augment light"]
    assert labels([["backbone=vgg16", "+finetune.unfreeze=-1"]]) == ["vgg16, unfreeze -1"]


def test_settings_of_the_same_name_have_their_sections():
    both = ["train.learning_rate=1e-3", "finetune.learning_rate=1e-4", "seed=2"]
    assert label(both) == "train.learning_rate 1e-3, finetune.learning_rate 1e-4, seed 2"
