"""A table as a LaTeX table environment, to be pasted into a paper."""

import re
from itertools import zip_longest

from contrastmask.report.paper import METRICS
from contrastmask.report.view import NOTHING, Block, Line, View

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
    """The whole file: two columns wide where settings stand side by side."""
    grouped = len(view.settings) > 1
    environment = "table*" if grouped else "table"
    notes = [view.legend, *view.unreadable]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx,xcolor}",
            rf"\begin{{{environment}}}[t]",
            r"\centering\footnotesize",
            rf"\caption{{{_caption(view)}}}",
            rf"\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', view.name)}}}",
            *([r"\resizebox{\linewidth}{!}{%"] if grouped else []),
            *_tabular(view),
            *(["}"] if grouped else []),
            *(rf"\par\smallskip {escape(note)}" for note in notes),
            rf"\end{{{environment}}}",
            "",
        ]
    )


def escape(text: str) -> str:
    """`text` as literal LaTeX on one line."""
    return "".join(_SPECIAL.get(char, char) for char in " ".join(text.split()))


def _caption(view: View) -> str:
    sentences = [view.title.rstrip(".") + ".", view.caption, ", ".join(view.facts) + ".", view.note, view.caveat]
    return " ".join(escape(sentence) for sentence in sentences if sentence)


def _tabular(view: View) -> list[str]:
    columns = "l" * len(view.columns) + "l" + "r" * len(METRICS) * len(view.settings)
    bodies = ["\n".join(_block(block, view)) for block in view.blocks]
    return [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *_heads(view),
        r"\midrule",
        ("\n" + r"\addlinespace" + "\n").join(bodies),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _heads(view: View) -> list[str]:
    leads = len(view.columns) + 1
    metrics = [*map(escape, view.columns), "", *METRICS * len(view.settings)]
    if len(view.settings) == 1:
        return [_row(metrics)]
    groups = [rf"\multicolumn{{{len(METRICS)}}}{{c}}{{{escape(setting)}}}" for setting in view.settings]
    firsts = [leads + 1 + len(METRICS) * i for i in range(len(groups))]
    rules = "".join(rf"\cmidrule(lr){{{first}-{first + len(METRICS) - 1}}}" for first in firsts)
    return [_row([*[""] * leads, *groups]), rules, _row(metrics)]


def _block(block: Block, view: View) -> list[str]:
    """The system's name, then its remarks, run down the first column beside its lines of numbers."""
    empty = ["", *[""] * len(METRICS) * len(view.settings)]
    rows = []
    for i, (text, line) in enumerate(zip_longest([block.lead[0], *block.remarks], block.lines)):
        others = block.lead[1:] if i == 0 else [""] * len(block.lead[1:])
        numbers = _numbers(line, view.comparable) if line else empty
        rows.append(_row([escape(text or ""), *map(escape, others), *numbers]))
    return rows


def _numbers(line: Line, comparable: bool) -> list[str]:
    grey = line.kind == "diff" and not comparable
    return [_grey(cell) if grey else _number(cell) for cell in (line.kind, *line.cells)]


def _number(cell: str) -> str:
    if cell == NOTHING:
        return "--"
    return f"${cell}$" if cell[:1] in ("+", "-") else cell


def _grey(cell: str) -> str:
    return rf"\textcolor{{gray}}{{({_number(cell)})}}" if cell else ""


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
