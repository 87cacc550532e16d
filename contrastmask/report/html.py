"""How every page of HTML is made: one Jinja environment, which escapes all text, and numbers as people read them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from contrastmask.runtime.terminal import duration, number

TEMPLATES = Path(__file__).parent / "templates"


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
    made.filters |= {"number": _number, "duration": duration, "json": lambda data: json.dumps(data, indent=1)}
    made.globals |= {
        Path(n).stem: Markup((TEMPLATES / n).read_text(encoding="utf-8")) for n in ("style.css", "script.js")
    }
    return made


def _number(value: float | None, spec: str = ".1f") -> str:
    """As printed, with a minus that is easy to see."""
    return number(value, spec).replace("-", "−")
