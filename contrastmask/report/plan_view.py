"""A plan for a person: a line for each run, what is left in sum, and how good earlier plans were."""

import math
from collections import Counter
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from contrastmask.report.cost import Estimate
from contrastmask.report.plan import Job, Plan

BASES = {
    "same system": "the same system was timed",
    "other options": "the method was timed with other options",
    "factors": "method and backbone were timed apart",
    "other systems": "only other systems were timed",
}
NOTHING = "–"


def print_plan(plan: Plan, console: Console) -> None:
    """Tables with rules in a terminal, plain columns elsewhere."""
    style = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table(box=style, pad_edge=False, show_edge=False)
    for column in ("run", "seed", "state", f"{plan.device} time left", "estimate from", "rows that share it"):
        table.add_column(column, overflow="fold", justify="right" if column.endswith("left") else "left")
    for job in plan.jobs:
        cost = job.left.seconds
        basis = cost.basis if cost and job.state != "done" else NOTHING
        time = "" if job.state == "done" else interval(cost, plan.per_run)
        table.add_row(job.run.id, str(job.seed), state(job), time, basis, "; ".join(plan.rows[job.run.id]))
    console.print(table)
    console.print()
    for line in summary(plan):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def state(job: Job) -> str:
    """A run's state in words."""
    if job.state == "half-done":
        return f"half-done: {job.iteration} of {job.iterations}"
    words = {"trained": "trained, to be evaluated", "changed": "to be made again: configuration or data changed"}
    return words.get(job.state, job.state)


def summary(plan: Plan) -> Iterator[str]:
    """What is there, what is left, what it costs, and what earlier estimates were worth."""
    states = Counter(job.state for job in plan.jobs)
    runs, seeds = len(plan.rows), len(plan.jobs) // max(1, len(plan.rows))
    counted = ", ".join(f"{count} {name}" for name, count in states.items())
    rows = sum(": boxes for " not in row for shared in plan.rows.values() for row in shared)
    yield f"Scale {plan.scale['name']}: {rows} rows, {runs} distinct runs, {seeds} seed{'s' * (seeds > 1)}. {counted}."
    if plan.left:
        yield from _left(plan)
    if plan.compared:
        yield from _compared(plan)
    elif any(job.state == "done" for job in plan.jobs):
        yield "No estimate was saved before these runs finished, so there is nothing to compare."


def _left(plan: Plan) -> Iterator[str]:
    time, size = plan.time_left, plan.size_left
    machine = ", ".join([plan.machine["hw.cpu"], f"{plan.machine['hw.cores']} cores", f"GPU: {plan.machine['hw.gpu']}"])
    if time is None:
        yield f"How long the {len(plan.left)} left will take is not known{_why(plan)}."
        yield (
            "To find out: `contrastmask plan --calibrate` times a few real steps of the fewest systems that tell,"
            " or finish one run of each method."
        )
    else:
        yield f"Left: {interval(time, plan.per_run)} {plan.device} time ({plan.per_run} per run)."
        yield f"On this machine, {plan.at_once} at once: about {interval(time, 1 / plan.at_once)}. ({machine})"
        bases = Counter(job.left.seconds.basis for job in plan.left if job.left.seconds)
        said = "; ".join(f"{BASES[basis]}: {bases[basis]}" for basis in BASES if bases[basis])
        yield f"From {plan.knowledge.source}. Of the {len(plan.left)} left, {said}."
        yield (
            "[low to high] holds about nine of ten costs if relative errors are normal: from the spread among what was"
            " timed, no narrower than assumed for each kind of estimate (contrastmask/report/cost.py). In sums all"
            " runs are at their low or high end together. Wall time: other work on the machine counts."
        )
    if size is not None:
        yield f"Disk for what is left: {interval_bytes(size)}; a run in progress needs about twice its share more."


def _why(plan: Plan) -> str:
    if any(job.iterations is None for job in plan.left):
        return ": the data has not been verified, so the length of the training is open"
    return f": no run of this scale has finished on such a machine ({plan.machine['hw.gpu']} GPU)"


def _compared(plan: Plan) -> Iterator[str]:
    jobs = plan.compared
    planned, actual = sum(j.planned.value for j in jobs if j.planned), sum(j.actual for j in jobs if j.actual)
    inside = sum(j.planned.low <= j.actual <= j.planned.high for j in jobs if j.planned and j.actual)
    yield (
        f"Plan and actual of {len(jobs)} finished: {duration(planned)} expected, {duration(actual)} taken"
        f" ({actual / planned:.2f} times); {inside} of {len(jobs)} within their interval."
    )
    worst = max(jobs, key=_miss)
    if worst.planned and worst.actual:
        yield f"Furthest off: {worst.key}, {duration(worst.planned.value)} expected, {duration(worst.actual)} taken."


def _miss(job: Job) -> float:
    return abs(math.log(job.actual / job.planned.value)) if job.planned and job.actual else 0.0


def interval(estimate: Estimate | None, factor: float = 1) -> str:
    """Seconds times `factor` with its interval."""
    if estimate is None:
        return "not known"
    e = estimate.times(factor)
    return f"{duration(e.value)} [{duration(e.low)} to {duration(e.high)}]"


def duration(seconds: float) -> str:
    """Two digits and the unit that fits."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{_two_digits(seconds / length)} {unit}"
    return f"{_two_digits(seconds)} s"


def interval_bytes(estimate: Estimate) -> str:
    """Bytes with their interval."""
    low, value, high = (f"{_two_digits(b / 1e9)} GB" for b in (estimate.low, estimate.value, estimate.high))
    return f"{value} [{low} to {high}]"


def _two_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
