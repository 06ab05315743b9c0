"""Table of a plan in the terminal, at most 100 characters wide if the output is a file."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from pipeline.jobs.plan import Action, Plan, PlannedJob, Step
from pipeline.system.terminal import duration, table_console

_WIDTH = 100
# Longer tables show the first rows only.
_MOST_ROWS, _SHOWN = 20, 12
_UNKNOWN = "?: there is no earlier result of such a stage to estimate from; >: without such stages."


def print_plan(plan: Plan, file: TextIO | None = None) -> None:
    """Print what each job will compute and take, and the total work; to standard output if `file` is None."""
    console = table_console(file, _WIDTH)
    [job, *others] = plan.jobs
    console.print(_sweep_table(plan.jobs) if others or job.problem else _job_table(job))
    lines, fits = summary(plan)
    for line in lines:
        console.print(line, highlight=False, markup=False, style=None if fits else "yellow")


def summary(plan: Plan) -> tuple[list[str], bool]:
    """Return the lines below the table, and whether the disk has enough space."""
    jobs = plan.jobs
    counts = {
        "complete": sum(job.complete for job in jobs),
        "to run": sum(not job.complete and not job.problem for job in jobs),
        "will not run": sum(bool(job.problem) for job in jobs),
    }
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    steps = [step for job in jobs for step in job.steps]
    for stage in dict.fromkeys(step.stage for step in steps):
        taken = sum(step.stage == stage and step.action == Action.TAKE for step in steps)
        computed = sum(step.stage == stage and step.computes for step in steps)
        if taken and len(jobs) > 1:
            computing = f"computed {_times(computed)} and " if computed else ""
            parts.append(f"{stage} {computing}taken {_times(taken)}")
    seconds, sizes = _seconds(steps), [size for job in jobs for size in job.sizes]
    workers = plan.workers or 1
    time = total([None if each is None else each / workers for each in seconds], duration)
    work = "of work, divided among the launcher's workers" if plan.workers is None else ""
    needed = sum(size for size in sizes if size is not None)
    fits = needed <= plan.free
    disk = f"{total(sizes, decimal)} of disk, {decimal(plan.free)} free"
    lines = [f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}: {', '.join(parts)}."]
    lines.append(f"Time: {time} {work}".rstrip() + f". Space: {disk}{'' if fits else ', which is too little'}.")
    if None in (*seconds, *sizes):
        lines.append(_UNKNOWN)
    lines += [f"Job {number} will not run: {job.problem}" for number, job in enumerate(jobs, start=1) if job.problem]
    return lines, fits


def total(values: Iterable[float | int | None], show: Callable[[Any], str]) -> str:
    """Return the sum of values as text, with `>` if only a part of them is known, and `?` if none is."""
    values = list(values)
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        return show(sum(known))
    return f"> {show(sum(known))}" if any(known) else "?"


def _job_table(job: PlannedJob) -> Table:
    table = Table(
        "stage", "result", "from", "images", "epochs", "steps", "time", "disk", box=None, title_justify="left"
    )
    for step in job.steps:
        numbers = [f"{step.work[name]:,}" if step.work.get(name) else "" for name in ("images", "epochs", "steps")]
        size = "" if step.size == 0 else total([step.size], decimal)
        table.add_row(step.stage, _ACTIONS[step.action], step.source, *numbers, _time([step]), size)
    if job.needs:
        table.add_row("cache", "decoded images, features", *[""] * 5, total(job.needs.values(), decimal))
    return table


_ACTIONS = {
    Action.COMPUTE: "computed",
    Action.RESUME: "resumed",
    Action.TAKE: "taken",
    Action.PRESENT: "complete",
}


def _sweep_table(jobs: Sequence[PlannedJob]) -> Table:
    stages = list(dict.fromkeys(step.stage for job in jobs for step in job.steps))
    table = Table("job", "settings", *stages, "time", "disk", box=None, pad_edge=False)
    table.columns[1].overflow, table.columns[1].ratio = "ellipsis", 1
    shown = jobs if len(jobs) <= _MOST_ROWS else jobs[:_SHOWN]
    for number, job in enumerate(shown, start=1):
        if job.problem:
            table.add_row(str(number), escape(job.label), *["will not run"][: len(stages)], style="yellow")
            continue
        cells = [_cell(step) for step in job.steps]
        table.add_row(str(number), escape(job.label), *cells, _time(job.steps), total(job.sizes, decimal))
    if len(shown) < len(jobs):
        table.add_row("", f"and {len(jobs) - len(shown)} more")
    steps = [step for job in jobs for step in job.steps]
    times = [_time([step for step in steps if step.stage == stage]) for stage in stages]
    sizes = [size for job in jobs for size in job.sizes]
    table.add_row("all", "", *times, _time(steps), total(sizes, decimal), style="bold")
    return table


def _cell(step: Step) -> str:
    if step.action == Action.COMPUTE:
        amount = next((name for name in ("steps", "images") if step.work.get(name)), None)
        return f"{step.work[amount]:,} {amount}" if amount else "compute"
    return {Action.RESUME: "resume", Action.TAKE: step.source, Action.PRESENT: "complete"}[step.action]


def _seconds(steps: Iterable[Step]) -> list[float | None]:
    return [step.seconds for step in steps if step.computes]


def _time(steps: Iterable[Step]) -> str:
    seconds = _seconds(steps)
    return total(seconds, duration) if seconds else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
