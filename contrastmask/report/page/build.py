"""Compose the report and write it."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from contrastmask.config import RunSpec, Settings, Table, all_runs
from contrastmask.report import paper
from contrastmask.report.claims import Claim
from contrastmask.report.figures import TEXTS
from contrastmask.report.page import plots
from contrastmask.report.page.cells import Grid, grid
from contrastmask.report.page.evidence import Evidence, hardware, read_evidence
from contrastmask.report.page.sections import (
    Compared,
    Missing,
    claims_section,
    comparisons_section,
    missing_section,
    price_section,
)
from contrastmask.report.paper import METRICS
from contrastmask.report.tables import build
from contrastmask.report.verdict import VERDICTS
from contrastmask.runtime.files import atomic_writer

TEMPLATES = Path(__file__).parent.parent / "templates" / "page"
FIGURE_WIDTH = 1800  # px of an embedded figure: sharp on a phone and a laptop, 100 KB or so


@dataclass(frozen=True)
class Plot:
    """A plot with its heading and what to know when reading it."""

    id: str
    title: str
    note: str
    svg: Markup


@dataclass(frozen=True)
class RunPart:
    """The section of one run: every seed's evidence."""

    spec: RunSpec
    seeds: tuple[Evidence, ...]
    rows: tuple[str, ...]
    """Table rows that show it."""
    curves: Mapping[int, Markup]
    """Loss curves by seed."""

    @property
    def title(self) -> str:
        options = ", ".join(f"{key}={value}" for key, value in self.spec.options)
        names = [
            paper.name("methods", self.spec.method), paper.name("backbones", self.spec.backbone),
            self.spec.schedule, paper.name("settings", self.spec.setting),
        ]  # fmt: skip
        return " · ".join(names + ([options] if options else []))

    @property
    def state(self) -> str:
        """Of its seeds: one word if all agree."""
        states = [seed.state for seed in self.seeds]
        if len(set(states)) == 1:
            return states[0]
        return f"{states.count('evaluated')} of {len(states)} seeds evaluated"


@dataclass(frozen=True)
class Page:
    """Everything that the template shows."""

    settings: Settings
    grids: tuple[Grid, ...]
    plots: Mapping[str, Sequence[Plot]]
    """By table, and under "" those of the whole report."""
    runs: tuple[RunPart, ...]
    figures: Mapping[str, str] = field(default_factory=dict)
    """Images as data URIs, by "figure6", "figure7"."""
    claims: Sequence[Claim] = ()
    compared: Sequence[Compared] = ()
    missing: Sequence[Missing] = ()
    price: Sequence[str] = ()
    """Sentences on what the missing ones are expected to cost, and on how good earlier estimates were."""
    unasked: Sequence[str] = ()
    """Tables that nobody asked for and of which nothing has been run."""


def write_report(settings: Settings, tables: Mapping[str, Table], out: Path | None = None) -> Path:
    """Write the report of what is there to `out` (results/<scale>/report/index.html); returns the path."""
    out = out or settings.folder / "report" / "index.html"
    html = render(compose(settings, tables))
    with atomic_writer(out) as file:
        file.write(html)
    return out


def compose(settings: Settings, tables: Mapping[str, Table]) -> Page:
    """Read everything under results/<scale>. What is missing or damaged is listed, never an error."""
    scale = settings.scale
    every = {run: [read_evidence(settings, run, seed) for seed in settings.seeds] for run in all_runs(dict(tables))}
    tables, unasked = shown_tables(tables, settings.tables, every)
    specs = all_runs(dict(tables))
    seeds = {run: every[run] for run in specs}
    costs, price = price_section(settings, tables)
    grids = {
        name: grid(table, build(table, settings.results, scale, settings.seeds, settings.preset), scale, settings.seeds)
        for name, table in tables.items()
    }
    return Page(
        settings=settings,
        grids=tuple(grids.values()),
        plots={name: _table_plots(shown, seeds, scale) for name, shown in grids.items()}
        | {"": _main_runs(specs, tables, seeds, scale)},
        runs=tuple(_run_part(spec, seeds[run], tables, scale) for run, spec in specs.items()),
        figures=_figures(settings.folder / "figures"),
        claims=claims_section(settings),
        compared=comparisons_section(settings, tables),
        missing=missing_section(tables, seeds, costs),
        price=price,
        unasked=unasked,
    )


def shown_tables(
    tables: Mapping[str, Table], wanted: Sequence[str], seeds: plots.Seeds
) -> tuple[dict[str, Table], tuple[str, ...]]:
    """The wanted tables and those with a measured run of their own, then the names of the others."""
    needed = all_runs({name: tables[name] for name in wanted})
    begun = {run for run, evidences in seeds.items() if run not in needed and any(e.metrics for e in evidences)}
    shown = {
        name: table for name, table in tables.items() if name in wanted or any(spec.id in begun for spec in table.runs)
    }
    return shown, tuple(name for name in tables if name not in shown)


def _table_plots(shown: Grid, seeds: plots.Seeds, scale: dict[str, Any]) -> list[Plot]:
    """What people would rather look at than read, for one table."""
    name, several_methods = shown.view.name, len({record["method"] for record in shown.records}) > 2
    drawn = [("sweep", "Curve", "The dashed line is the paper's.", plots.ablation(shown, seeds, scale))]
    for setting in dict.fromkeys(record["setting"] for record in shown.records) if several_methods else ():
        title = f"AP against training time, {paper.name('settings', setting)}"
        note = f"Wall clock as recorded, on {plots.machines(shown.records, seeds)}."
        drawn.append((f"cost-{setting}", title, note, plots.cost(shown, setting, seeds, scale)))
    note = "On base categories, the only ones with masks."
    drawn.append(("losses", "Mask loss", note, plots.compared_losses(shown, seeds, scale)))
    return [Plot(f"{kind}-of-{name}", title, note, Markup(svg)) for kind, title, note, svg in drawn if svg]


def _main_runs(
    specs: Mapping[str, RunSpec], tables: Mapping[str, Table], seeds: plots.Seeds, scale: dict[str, Any]
) -> list[Plot]:
    """Per category AP of each setting's main run: the one that most rows show."""
    drawn = []
    for setting in dict.fromkeys(spec.setting for spec in specs.values()):
        rows = [row.run for table in tables.values() for row in table.rows if row.run and row.setting == setting]
        main = max(dict.fromkeys(rows), key=rows.count)
        first = next((e for e in seeds[main.id] if e.metrics), None)
        title = paper.name("settings", setting)
        svg = plots.categories(first, f"categories-{setting}", title, scale) if first else ""
        if svg and first:
            note = f"Run {main.id}, seed {first.seed}."
            drawn.append(Plot(f"categories-of-{setting}", f"AP of each category, {title}", note, Markup(svg)))
    return drawn


def _run_part(spec: RunSpec, seeds: Sequence[Evidence], tables: Mapping[str, Table], scale: dict[str, Any]) -> RunPart:
    rows = [
        f"{table.name}: {row.label or paper.name('methods', row.method)}"
        for table in tables.values()
        for row in table.rows
        if row.run == spec
    ]
    rows += [
        f"{table.name}: detections for {run.id}"
        for table in tables.values()
        for run in table.runs
        if run.detector == spec
    ]
    curves = {e.seed: Markup(plots.losses(e, f"curve-{spec.id}-{e.seed}", scale)) for e in seeds}
    return RunPart(spec, tuple(seeds), tuple(rows), {seed: svg for seed, svg in curves.items() if svg})


def _figures(folder: Path) -> dict[str, str]:
    """Figures 6 and 7, as far as they have been made."""
    made = {name: folder / f"{name}.png" for name in ("figure6", "figure7")}
    return {name: _data_uri(path) for name, path in made.items() if path.exists()}


def _data_uri(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as file:
        image: Image.Image = file.convert("RGB")
        if image.width > FIGURE_WIDTH:
            image = image.resize((FIGURE_WIDTH, round(image.height * FIGURE_WIDTH / image.width)))
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def render(page: Page) -> str:
    """The page as HTML. Every text is escaped by the template; only our own SVG is taken as it is."""
    pages = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"number": _number, "duration": duration, "json": lambda data: json.dumps(data, indent=1)}
    pages.globals["hardware"] = hardware
    assets = {name: Markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in ("style.css", "script.js")}
    return pages.get_template("index.html.j2").render(
        page=page, scale=page.settings.scale, metrics=METRICS, verdicts=VERDICTS, assets=assets, figure_texts=TEXTS
    )


def _number(value: float | None, signed: bool = False) -> str:
    """One decimal as printed, with a minus that is easy to see; "–" for nothing."""
    if value is None:
        return "–"
    return (f"{value:+.1f}" if signed else f"{value:.1f}").replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds for people: 45 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
