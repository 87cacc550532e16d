"""A table as one HTML file that needs nothing else."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from contrastmask.report.paper import METRICS
from contrastmask.report.view import View


def to_html(view: View) -> str:
    """The whole page. The template escapes every text."""
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    pages = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters["minus"] = _minus
    return pages.get_template("table.html.j2").render(view=view, metrics=METRICS)


def _minus(number: str) -> str:
    """A hyphen in front of a number is hard to see, and may be read aloud as "dash"."""
    return number.replace("-", "−")
