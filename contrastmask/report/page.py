"""The report: one page with every table, the runs behind its cells, plots, claims, figures, and what is missing."""

import base64
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from contrastmask.config import RunSpec, Settings, Table, all_runs
from contrastmask.evaluation.measurements import MeasurementError
from contrastmask.report import paper, plots
from contrastmask.report.claims import claims
from contrastmask.report.compare import compare
from contrastmask.report.compare_views import page_content
from contrastmask.report.figure_rows import TEXTS
from contrastmask.report.html import render
from contrastmask.report.layout import View, lay_out
from contrastmask.report.paper import AGREEMENTS, METRICS
from contrastmask.report.plan import Planned, make_plan, summary
from contrastmask.report.plots import Plot
from contrastmask.report.run_files import RunFiles, read_run_files
from contrastmask.report.tables import build
from contrastmask.runtime.files import atomic_writer

log = logging.getLogger(__name__)

FIGURE_WIDTH = 1800  # px of an embedded figure: sharp on a phone and a laptop, 100 KB or so
STEPS = "table2"  # the table whose rows are compared, each with the one before: what each component adds


@dataclass(frozen=True)
class RunPart:
    """The section of one run."""

    spec: RunSpec
    seeds: tuple[RunFiles, ...]
    rows: tuple[str, ...]
    """Table rows that show it, or that read its boxes."""
    losses: Mapping[int, Plot | None]
    """By seed."""

    @property
    def title(self) -> str:
        options = ", ".join(f"{key}={value}" for key, value in self.spec.options)
        names = [
            paper.name("methods", self.spec.method), paper.name("backbones", self.spec.backbone),
            self.spec.schedule, paper.name("settings", self.spec.setting), options,
        ]  # fmt: skip
        return " · ".join(filter(None, names))

    @property
    def state(self) -> str:
        """Of its seeds: one word if all agree."""
        states = [seed.state for seed in self.seeds]
        if len(set(states)) == 1:
            return states[0]
        return f"{states.count('evaluated')} of {len(states)} seeds evaluated"


def write_report(settings: Settings, tables: Mapping[str, Table], out: Path | None = None) -> Path:
    """Write the report of what is there to `out` (results/<scale>/report/index.html); returns the path."""
    out = out or settings.folder / "report" / "index.html"
    html = render("page.html.j2", **compose(settings, tables))
    with atomic_writer(out) as file:
        file.write(html)
    return out


def compose(settings: Settings, tables: Mapping[str, Table]) -> dict[str, Any]:
    """What the template shows, from files under results/<scale>. What is missing or damaged is listed, no error."""
    scale = settings.scale
    runs = all_runs(dict(tables))
    every = {run: [read_run_files(settings.run_folder(run, seed)) for seed in settings.seeds] for run in runs}
    shown = shown_tables(tables, settings.tables, every)
    specs = all_runs(shown)
    seeds = {run: every[run] for run in specs}
    plan = make_plan(settings, shown)
    rows = {p.run.id: p.rows for p in plan}
    views = [
        lay_out(table, build(table, settings.results, scale, settings.seeds, settings.preset), scale, settings.seeds)
        for table in shown.values()
    ]
    return {
        "settings": settings,
        "scale": scale,
        "metrics": METRICS,
        "agreements": AGREEMENTS,
        "figure_texts": TEXTS,
        "views": views,
        "plots": {view.name: [p for p in _table_plots(view, seeds, scale) if p] for view in views},
        "categories": [p for p in _main_runs(shown, seeds, scale) if p],
        "runs": [
            RunPart(
                spec, tuple(seeds[run]), rows[run], {files.seed: plots.losses(files, scale) for files in seeds[run]}
            )
            for run, spec in specs.items()
        ],
        "figures": embedded(settings.folder / "figures"),
        "claims": claims(settings.folder, settings.seeds, settings.preset, scale=scale),
        "compared": list(_compared(settings, shown)),
        "missing": missing(plan, seeds),
        "price": list(summary(plan, scale["name"])),
        "unasked": [name for name in tables if name not in shown],
    }


def shown_tables(tables: Mapping[str, Table], wanted: Sequence[str], seeds: plots.Seeds) -> dict[str, Table]:
    """The wanted tables, and those with a measured run of their own."""
    needed = all_runs({name: tables[name] for name in wanted})
    begun = {run for run, files in seeds.items() if run not in needed and any(f.metrics for f in files)}
    return {n: table for n, table in tables.items() if n in wanted or any(spec.id in begun for spec in table.runs)}


def missing(plan: Sequence[Planned], seeds: plots.Seeds) -> list[tuple[Planned, str]]:
    """What has not been evaluated, cannot be read or is no longer what is asked for, with its state."""
    states = {(run, files.seed): files.state for run, of_run in seeds.items() for files in of_run}
    old = "evaluated with another configuration or on other data"
    found = [(p, states[p.run.id, p.seed]) for p in plan]
    found = [(p, old if state == "evaluated" and p.state != "done" else state) for p, state in found]
    return [(p, state) for p, state in found if state != "evaluated"]


def _table_plots(view: View, seeds: plots.Seeds, scale: dict[str, Any]) -> Iterator[Plot | None]:
    """What people would rather look at than read, for one table."""
    yield plots.sweep(view, seeds, scale)
    if len({line["method"] for line in view.lines}) > 2:
        for setting in dict.fromkeys(line["setting"] for line in view.lines):
            yield plots.cost(view, setting, seeds, scale)
    yield plots.compared_losses(view, seeds, scale)


def _main_runs(tables: Mapping[str, Table], seeds: plots.Seeds, scale: dict[str, Any]) -> Iterator[Plot | None]:
    """Per category AP of each setting's main run: the one that most rows show."""
    rows = [row for table in tables.values() for row in table.rows if row.run]
    for setting in dict.fromkeys(row.setting for row in rows):
        runs = [row.run for row in rows if row.run and row.setting == setting]
        main = max(dict.fromkeys(runs), key=runs.count)
        first = next((files for files in seeds[main.id] if files.metrics), None)
        yield plots.categories(first, setting, scale) if first else None


def _compared(settings: Settings, tables: Mapping[str, Table]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each step of STEPS in detail, as `contrastmask compare` gives it; steps with an unfinished run are left out."""
    for before, after in pairwise(tables[STEPS].rows if STEPS in tables else ()):
        if before.run is None or after.run is None:
            continue
        try:
            compared = compare(settings.folder, before.run.id, after.run.id, settings.scale)
        except MeasurementError as error:
            log.info("no comparison of %s with %s: %s", before.label, after.label, error)
            continue
        yield f"{before.label} → {after.label}", page_content(compared)


def embedded(folder: Path) -> dict[str, str]:
    """The figures that have been made, as data URIs; one that cannot be read is logged."""
    from PIL import Image

    found = {}
    for path in (folder / f"{name}.png" for name in TEXTS):
        try:
            with Image.open(path) as file:
                image: Image.Image = file.convert("RGB")
        except FileNotFoundError:
            continue
        except (OSError, SyntaxError) as error:  # SyntaxError: PIL's, of a broken PNG
            log.warning("%s cannot be read, the page goes without it: %s", path, error)
            continue
        image.thumbnail((FIGURE_WIDTH, 10 * FIGURE_WIDTH))
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=85)
        found[path.stem] = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return found
