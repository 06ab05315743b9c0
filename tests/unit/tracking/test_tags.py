"""Tags of this package, in runs of this version and of older ones."""

from pipeline.tracking.tags import BEGUN, LOCK_SHA256, PROCESS, computed_by, internal, with_stage


def test_stages_are_added_one_by_one_also_to_an_older_run():
    tags = {"prepare.computed_by": "a", "train.computed_by": BEGUN, "role": "experiment"}
    assert computed_by(tags) == {"prepare": "a", "train": BEGUN}
    tags |= with_stage(tags, "train", "b")
    assert computed_by(tags) == {"prepare": "a", "train": "b"}
    tags = with_stage({}, "prepare", "c")
    assert list(tags) == ["pipeline.stages"]
    assert computed_by(tags | with_stage(tags, "train", BEGUN)) == {"prepare": "c", "train": BEGUN}
    assert computed_by({}) == {}


def test_other_tags_are_found_with_and_without_the_prefix():
    assert internal({"lock_sha256": "old"}, LOCK_SHA256) == "old"
    assert internal({"lock_sha256": "old", "pipeline.lock_sha256": "new"}, LOCK_SHA256) == "new"
    assert internal({}, PROCESS) == ""
