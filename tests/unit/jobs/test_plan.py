"""The plan of jobs, from keys and results in memory."""

import pytest

from pipeline.config import Config
from pipeline.config.compose import composed
from pipeline.config.validate import check
from pipeline.jobs.identity import key_of_stage
from pipeline.jobs.plan import Action, Found, Plan, PlannedJob, Step, estimated, plan_stages
from pipeline.jobs.work import Earlier, work_of
from pipeline.stages import STAGES, declaration

DIGESTS = {"images": "a" * 64, "weights": None}
COUNTS = {"all": 100, "train": 64, "validation": 16, "test": 20}
# Of the files that later stages read.
SHA256 = {name: f"sha256 of {name}" for stage in STAGES for name in declaration(stage).inputs}


def configuration(*overrides: str) -> Config:
    return check(composed(["dataset=folder", "dataset.path=images", *overrides]))


def result(stage: str) -> Found:
    """A result of an experiment whose key begins with 3fa1b2, with files of 10 bytes."""
    names = [name.removeprefix(f"{stage}/") for name in SHA256 if name.startswith(f"{stage}/")]
    files = {name: {"bytes": 10, "sha256": SHA256[f"{stage}/{name}"]} for name in names}
    return Found({"experiment": "3fa1b2c4d5e6f7a8", "files": files}, own=False)


def planned(*configs: Config, present: tuple[str, ...] = ()) -> list[list[Step]]:
    """Plan jobs whose first one has results of some stages."""
    keys, computed, jobs = {}, {}, []
    for stage in present:
        inputs = {name: SHA256[name] for name in declaration(stage).inputs}
        keys[stage, key_of_stage(stage, configs[0], inputs, DIGESTS)] = result(stage)
    for number, config in enumerate(configs, start=1):
        steps = plan_stages(STAGES, config, DIGESTS, find=lambda *name: keys.get(name), computed=computed)
        computed |= {step.key: f"job {number}" for step in steps if step.computes}
        jobs.append(steps)
    return jobs


def actions(steps: list[Step]) -> list[str]:
    return [f"{step.action} {step.source}".rstrip() for step in steps]


def test_without_results_all_is_computed_and_equal_stages_are_taken_from_the_first_job():
    jobs = planned(configuration(), configuration("finetune.unfreeze=-1"), configuration("train.dropout=0.5"))
    assert actions(jobs[0]) == ["compute"] * 5
    assert actions(jobs[1]) == ["take job 1", "take job 1", "compute", "compute", "compute"]
    # What follows from another phase 1 is not the same, though its own settings are.
    assert actions(jobs[2]) == ["take job 1", "compute", "compute", "compute", "compute"]


def test_results_that_exist_are_taken_and_give_the_keys_of_later_stages():
    config = configuration()
    [steps] = planned(config, present=("prepare", "train"))
    assert actions(steps) == ["take 3fa1b2", "take 3fa1b2", "compute", "compute", "compute"]
    assert [step.size for step in steps[:2]] == [
        10 * len(result(stage).state["files"]) for stage in ("prepare", "train")
    ]
    inputs = {name: SHA256[name] for name in declaration("finetune").inputs}
    assert steps[2].key == key_of_stage("finetune", config, inputs, DIGESTS)


def test_a_result_whose_inputs_have_to_be_computed_is_not_taken():
    [steps] = planned(configuration(), present=("train",))
    assert actions(steps) == ["compute"] * 5


def test_a_result_in_the_jobs_own_folder_is_complete():
    found = Found(result("prepare").state, own=True)
    [step] = plan_stages(["prepare"], configuration(), DIGESTS, find=lambda *_: found, computed={})
    assert (step.action, step.computes) == (Action.PRESENT, False)


def test_steps_have_the_time_and_size_of_the_most_alike_result():
    config = configuration("train.epochs=10", "train.batch_size=10")
    half = work_of("train", config, COUNTS | {"train": 32})
    other = work_of("train", configuration("backbone=vgg16"), COUNTS)
    earlier = [Earlier(half, 3.0, 100, 1.0), Earlier(other, 50.0, 5000, 2.0)]
    steps = plan_stages(["prepare", "train"], config, DIGESTS, find=lambda *_: None, computed={})
    prepare, train = estimated(steps, config, COUNTS, earlier)
    assert (prepare.seconds, prepare.size) == (None, None)
    assert (train.seconds, train.size, train.work["steps"]) == (6.0, 200, 70)
    taken = plan_stages(["prepare", "train"], config, DIGESTS, find=lambda *_: None, computed={train.key: "job 1"})
    [_, train] = estimated(taken, config, COUNTS, earlier)
    assert (train.seconds, train.size) == (0.0, 100)


def test_the_work_left_counts_equal_works_of_later_jobs_once():
    train, report = (Step(stage, "k", Action.COMPUTE, work={"stage": stage}) for stage in ("train", "report"))
    taken = Step("train", "k", Action.TAKE, work={"stage": "train"})
    plan = Plan(
        [PlannedJob("a", (train, report)), PlannedJob("b", (taken, report)), PlannedJob("c", (taken, report))], 0
    )
    assert plan.work_from(1) == [({"stage": "train"}, 1), ({"stage": "report"}, 3)]
    assert plan.work_from(3) == [({"stage": "report"}, 1)]


@pytest.mark.parametrize("action", list(Action))
def test_a_job_is_complete_if_all_its_results_are_in_its_folder(action):
    job = PlannedJob("", (Step("prepare", "k", Action.PRESENT), Step("train", "k", action)))
    assert job.complete == (action == Action.PRESENT)
