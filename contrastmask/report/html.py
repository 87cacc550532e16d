"""How every page of HTML is made: one Jinja environment, which escapes all text, and numbers as people read them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from contrastmask.report.plan import duration

TEMPLATES = Path(__file__).parent / "templates"
NOTHING = "–"


def render(name: str, **content: Any) -> str:
    """A template filled in: one file that needs nothing else."""
    return _environment().get_template(name).render(**content)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "duration": duration, "json": lambda data: json.dumps(data, indent=1)}
    made.globals |= {
        Path(n).stem: Markup((TEMPLATES / n).read_text(encoding="utf-8")) for n in ("style.css", "script.js")
    }
    return made


def number(value: float | None, digits: int = 1, signed: bool = False) -> str:
    """As printed, with a minus that is easy to see; "–" for nothing."""
    if value is None:
        return NOTHING
    return (f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}").replace("-", "−")
