"""Parts of the report that other modules make: claims, comparisons, and the price of what is missing."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from contrastmask.config import Settings, Table, all_runs
from contrastmask.evaluation.readings import ReadingsError
from contrastmask.report import compare_views
from contrastmask.report.claims import Claim, claims
from contrastmask.report.compare import compare
from contrastmask.report.page.evidence import Evidence
from contrastmask.report.plan import duration, make_plan, summary

log = logging.getLogger(__name__)

STEPS = "table2"  # the table whose rows are compared, each with the one before: what each component adds


@dataclass(frozen=True)
class Compared:
    """Two neighbouring rows of the table STEPS."""

    title: str
    html: Markup


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
    """Expected time by (run, seed), and sentences on all of it."""
    plan = make_plan(settings, dict(tables))
    costs = {(p.run.id, p.seed): duration(p.seconds) for p in plan if p.state != "done"}
    return costs, tuple(summary(plan, settings.scale["name"]))


def claims_section(settings: Settings) -> list[Claim]:
    """The paper's claims held against the runs."""
    return claims(settings.folder, settings.seeds, settings.preset)


def comparisons_section(settings: Settings, tables: Mapping[str, Table]) -> list[Compared]:
    """Each step of STEPS in detail, as `contrastmask compare` gives it; steps with an unfinished run are left out."""
    found = []
    for before, after in pairwise(tables[STEPS].rows if STEPS in tables else ()):
        if before.run is None or after.run is None:
            continue
        try:
            compared = compare(settings.folder, before.run.id, after.run.id, settings.scale)
        except ReadingsError as error:
            log.info("no comparison of %s with %s: %s", before.label, after.label, error)
            continue
        html = Markup(compare_views.to_html(compared, page=False))  # escaped by its own template
        found.append(Compared(f"{before.label} → {after.label}", html))
    return found
