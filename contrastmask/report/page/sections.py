"""Parts of the report that other modules make, where these are there: the claims and the price of what is missing."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from contrastmask.experiment import Settings, Table, all_runs
from contrastmask.report.page.evidence import Evidence


@dataclass(frozen=True)
class Missing:
    """A run and seed without usable metrics."""

    run: str
    seed: int
    state: str
    tables: tuple[str, ...]
    cost: str
    """What it is expected to cost; "" if nothing is known."""


def missing_section(
    tables: Mapping[str, Table], seeds: Mapping[str, Sequence[Evidence]], costs: Mapping[tuple[str, int], str]
) -> list[Missing]:
    """What has not been run or cannot be read, in the order of the tables, with its price from `price_section`."""
    left = []
    for run, evidences in seeds.items():
        needed_by = tuple(name for name, table in tables.items() if run in all_runs({name: table}))
        left += [
            Missing(run, evidence.seed, evidence.state, needed_by, costs.get((run, evidence.seed), ""))
            for evidence in evidences
            if evidence.state != "evaluated"
        ]
    return left


def price_section(
    settings: Settings, tables: Mapping[str, Table]
) -> tuple[dict[tuple[str, int], str], tuple[str, ...]]:
    """Expected time by (run, seed), and sentences on all of it, from contrastmask.report.plan; empty without it."""
    if find_spec("contrastmask.report.plan") is None:
        return {}, ()
    plan = importlib.import_module("contrastmask.report.plan").make_plan(settings, dict(tables))
    view = importlib.import_module("contrastmask.report.plan_view")
    costs = {
        (job.run.id, job.seed): view.interval(job.left.seconds, plan.per_run)
        for job in plan.jobs
        if job.state != "done"
    }
    return costs, tuple(view.summary(plan))


def claims_section(settings: Settings) -> list[Any]:
    """The paper's claims held against the runs, by contrastmask.report.claims; [] without that module."""
    if find_spec("contrastmask.report.claims") is None:
        return []
    claims = importlib.import_module("contrastmask.report.claims").claims
    return list(claims(settings.folder, settings.seeds, settings.preset))
