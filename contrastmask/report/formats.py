"""A laid-out table as markdown that also reads well in a terminal, as one HTML file, and as LaTeX."""

import re
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from contrastmask.config import Table
from contrastmask.report.html import render
from contrastmask.report.layout import PRINTED, Block, View, lay_out
from contrastmask.report.tables import to_csv
from contrastmask.runtime.files import atomic_writer
from contrastmask.runtime.terminal import NOTHING, markdown

WIDTH = 120  # of paragraphs of markdown


def write(table: Table, results: pd.DataFrame, folder: Path, scale: dict[str, Any], seeds: Sequence[int]) -> list[Path]:
    """Write <folder>/<table>.{csv,md,html,tex} of what tables.build made; return the four paths."""
    view = lay_out(table, results, scale, seeds)
    content = {"csv": to_csv(results), "md": to_markdown(view), "html": to_html(view), "tex": to_tex(view)}
    paths = [folder / f"{table.name}.{suffix}" for suffix in content]
    for path, text in zip(paths, content.values(), strict=True):
        with atomic_writer(path) as file:
            file.write(text)
    return paths


def to_html(view: View) -> str:
    """One file that needs nothing else. The template escapes every text."""
    return render("table.html.j2", view=view)


def _grid(block: Block, view: View, leads: int) -> list[tuple[list[str], str, list[str]]]:
    """A block's lines: `leads` texts, of which the name and what is said of it run down the first; kind; numbers."""
    rest = list(block.lead[1:])
    first = [block.lead[0], *([" · ".join(rest)] if rest and leads == 1 else []), *block.remarks]
    rows = []
    for i, (text, line) in enumerate(zip_longest(first, block.lines(view.comparable))):
        kind, numbers = line or ("", [""] * len(block.cells))
        others = (rest if i == 0 else [""] * len(rest)) if leads > 1 else []
        rows.append(([text or "", *others], kind, numbers))
    return rows


# ---------------------------------------------------------------------------- markdown


def to_markdown(view: View) -> str:
    """The whole file, ending with a newline."""
    parts = [
        f"# {escape_markdown(view.heading)}",
        _paragraph(view.caption),
        f"**{escape_markdown(' · '.join(view.facts))}**",
        _paragraph(view.note),
        _table(view),
        _paragraph(view.legend),
        *(_paragraph(remark, "- ") for remark in view.unreadable),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape_markdown(text: str) -> str:
    """`text` as literal markdown on one line, inside a table cell too."""
    one_line = " ".join(text.split())
    special = re.sub(r"([\\`*\[\]<>|~$#&])", r"\\\1", one_line)
    # An underscore inside a word, as in cl_convs, is literal without help.
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", special)


def _paragraph(text: str, prefix: str = "") -> str:
    lines = textwrap.wrap(escape_markdown(text), WIDTH, break_long_words=False, break_on_hyphens=False)
    # a line that starts with -, +, = or "1." must not become a list or a heading
    plain = [re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", line) for line in lines]
    return "\n".join((" " * len(prefix) if i else prefix) + line for i, line in enumerate(plain))


def _table(view: View) -> str:
    head, *rows = _heads(view)
    for block in view.blocks:
        rows += [[escape_markdown(lead[0]), kind, *numbers] for lead, kind, numbers in _grid(block, view, 1)]
    return markdown(head, rows, left=2)


def _heads(view: View) -> list[list[str]]:
    """One row; where settings stand side by side a second one, which markdown takes for the first of the body."""
    numbers = view.heads
    if len(view.settings) == 1:
        return [[view.columns[0], "", *(" ".join(filter(None, head)) for head in numbers)]]
    over = []
    for setting in view.settings:  # each name over its columns: broken at the arrow, to keep these narrow
        base, arrow, novel = setting.partition(" → ")
        names = [base, f"→ {novel}"] if arrow else [setting, ""]
        over += [*map(escape_markdown, names), *(top for top, _ in numbers[2:])]
    under = [bottom for _, bottom in numbers] * len(view.settings)
    return [[view.columns[0], "", *over], [" · ".join(view.columns[1:]), "", *under]]


# ---------------------------------------------------------------------------- LaTeX

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{char: f"\\{char}" for char in "&%$#_"},
    # After the \\ that ends a row, these would be taken for its arguments.
    **{char: f"{{{char}}}" for char in "[]*"},
    # What pdflatex's fonts lack.
    "→": r"$\rightarrow$",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
    "δ": r"$\delta$",
    "λ": r"$\lambda$",
    "·": r"$\cdot$",
    "–": "--",
}


def to_tex(view: View) -> str:
    """A table environment to be pasted into a paper: two columns wide where settings stand side by side."""
    grouped = len(view.settings) > 1
    environment = "table*" if grouped else "table"
    sentences = [view.title.rstrip(".") + ".", view.caption, ", ".join(view.facts) + ".", view.note]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx,xcolor}",
            rf"\begin{{{environment}}}[t]",
            r"\centering\footnotesize",
            rf"\caption{{{' '.join(escape_tex(sentence) for sentence in sentences if sentence)}}}",
            rf"\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', view.name)}}}",
            *([r"\resizebox{\linewidth}{!}{%"] if grouped else []),
            *_tabular(view),
            *(["}"] if grouped else []),
            *(rf"\par\smallskip {escape_tex(note)}" for note in (view.legend, *view.unreadable)),
            rf"\end{{{environment}}}",
            "",
        ]
    )


def escape_tex(text: str) -> str:
    """`text` as literal LaTeX on one line."""
    return "".join(_SPECIAL.get(char, char) for char in " ".join(text.split()))


def _tabular(view: View) -> list[str]:
    leads, grey = len(view.columns), [column == PRINTED for column in view.numbers] * len(view.settings)
    bodies = []
    for block in view.blocks:
        lines = []
        for lead, kind, numbers in _grid(block, view, max(leads, 2)):
            cells = [_number(text, dim) for text, dim in zip(numbers, grey, strict=True)]
            lines.append(_tex_row([*map(escape_tex, lead), kind, *cells]))
        bodies.append("\n".join(lines))
    return [
        rf"\begin{{tabular}}{{{'l' * (leads + 1)}{'r' * len(grey)}}}",
        r"\toprule",
        *_tex_heads(view),
        r"\midrule",
        ("\n" + r"\addlinespace" + "\n").join(bodies),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _tex_heads(view: View) -> list[str]:
    leads, each = len(view.columns) + 1, len(view.numbers)
    numbers = [" ".join(filter(None, head)) for head in view.heads]
    heads = _tex_row([*map(escape_tex, view.columns), "", *numbers * len(view.settings)])
    if len(view.settings) == 1:
        return [heads]
    groups = [rf"\multicolumn{{{each}}}{{c}}{{{escape_tex(setting)}}}" for setting in view.settings]
    firsts = [leads + 1 + each * i for i in range(len(groups))]
    rules = "".join(rf"\cmidrule(lr){{{first}-{first + each - 1}}}" for first in firsts)
    return [_tex_row([*[""] * leads, *groups]), rules, heads]


def _number(text: str, grey: bool) -> str:
    shown = "--" if text == NOTHING else f"${text}$" if text[:1] in ("+", "-") else text
    return rf"\textcolor{{gray}}{{{shown}}}" if grey and text else shown


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
