"""The printed plan."""

import io

from pipeline.jobs.plan import Action, Plan, PlannedJob, Step
from pipeline.jobs.plan_table import print_plan
from pipeline.stages import STAGES


def job(label: str, source: str = "", seconds: float | None = 30.0, size: int | None = 1000) -> PlannedJob:
    """A job that takes phase 1 from `source`, if it is given."""
    steps = [
        Step(stage, stage, Action.TAKE, source)
        if source and stage in ("prepare", "train")
        else Step(stage, stage, Action.COMPUTE, work={"images": 1077, "steps": 680}, seconds=seconds, size=size)
        for stage in STAGES
    ]
    return PlannedJob(label, tuple(steps), {("images",): 5000} if not source else {})


def printed(*jobs: PlannedJob, free: int = 10**9, workers: int | None = 1) -> list[str]:
    out = io.StringIO()
    print_plan(Plan(list(jobs), free, workers), out)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= 100
    return lines


def test_a_sweep_has_a_row_per_job_and_totals():
    lines = printed(job("vgg16, unfreeze -1"), job("vgg16, unfreeze -2", "job 1"))
    assert lines[1].split() == [
        "1", "vgg16,", "unfreeze", "-1", *["680", "steps"] * 5, "2", "min", "10.0", "kB",
    ]  # fmt: skip
    assert lines[2].split()[:8] == ["2", "vgg16,", "unfreeze", "-2", "job", "1", "job", "1"]
    assert lines[3].split() == ["all", *["30", "s"] * 2, *["60", "s"] * 3, "4", "min", "13.0", "kB"]
    assert "2 jobs: 2 to run, prepare computed once and taken once, train computed once and taken once." in lines
    assert lines[-1] == "Time: 4 min. Space: 13.0 kB of disk, 1.0 GB free."


def test_a_single_job_has_a_row_per_stage():
    lines = printed(job("", "3fa1b2"))
    assert lines[1].split() == ["prepare", "taken", "3fa1b2"]
    assert lines[3].split() == ["finetune", "computed", "1,077", "680", "30", "s", "1.0", "kB"]
    assert len(lines) == 1 + len(STAGES) + 2


def test_time_is_divided_among_workers():
    assert "Time: 75 s." in printed(job("a"), workers=2)[-1]
    assert "Time: 2 min of work, divided among the launcher's workers." in printed(job("a"), workers=None)[-1]


def test_unknown_time_and_space_are_marked():
    lines = printed(job("a"), job("b", seconds=None, size=None))
    assert "Time: > 2 min. Space: > 15.0 kB of disk, 1.0 GB free." in lines
    assert lines[-1].startswith("?: there is no earlier result")
    assert "Time: ?." in printed(job("a", seconds=None))[-2]


def test_too_little_space_is_noticed():
    assert printed(job("a"), free=9000)[-1].endswith("10.0 kB of disk, 9.0 kB free, which is too little.")


def test_a_wide_sweep_is_not_listed_as_a_whole():
    lines = printed(*(job(f"seed {number}") for number in range(100)))
    assert any("and 88 more" in line for line in lines)
    assert len(lines) < 20
    assert any(line.startswith("100 jobs: 100 to run") for line in lines)


def test_jobs_that_will_not_run_have_their_reasons():
    lines = printed(job("a"), PlannedJob("b", problem="failed before: x is not allowed"))
    assert lines[2].split() == ["2", "b", "will", "not", "run"]
    assert "2 jobs: 1 to run, 1 will not run." in lines
    assert lines[-1] == "Job 2 will not run: failed before: x is not allowed"
