"""The laid-out table, and markdown, HTML and LaTeX of it: their shape, and that no text breaks out of its place."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.html_page import Page

from contrastmask.config import Row, RunSpec, Table, load_table
from contrastmask.report import formats
from contrastmask.report.formats import to_html, to_markdown, to_tex
from contrastmask.report.layout import View, lay_out
from contrastmask.report.paper import METRICS
from contrastmask.report.tables import build

Put = Callable[..., Path]
SMOKE = {"name": "smoke", "note": "Made up for a test.", "comparable": False}
PAPER = {"name": "paper", "note": "The paper's recipe.", "comparable": True}
# What YAML lets through: no control characters, no lone surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1).filter(str.strip)


def load(name: str) -> Table:
    return load_table(name, "paper")


def shown(table: Table, results: Path, scale: dict[str, Any] = SMOKE, seeds: tuple[int, ...] = (0,)) -> View:
    return lay_out(table, build(table, results, scale, seeds, "paper"), scale, seeds)


def labelled(label: str) -> Table:
    """A table whose texts are all `label`."""
    spec = RunSpec("contrastmask", "r50", "1x", "nonvoc2voc", "paper")
    row = Row("table8", label, "contrastmask", "r50", "1x", "nonvoc2voc", 4, spec)
    return Table("table8", label, label, (row,))


@pytest.fixture
def full(results: Path, put: Put) -> Path:
    """Results of two seeds for all runs of all tables, at two scales."""
    for scale in ("smoke", "paper"):
        for name in ("table1", "table4"):
            for run in load(name).runs:
                put(run.id, 0, 0.001, scale)
                put(run.id, 1, 0.9, scale)
    return results


# ---------------------------------------------------------------------------- markdown


def table_lines(markdown: str) -> list[str]:
    return [line for line in markdown.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("name", [f"table{number}" for number in range(1, 8)])
def test_markdown_is_aligned_and_fits_a_terminal(name: str, full: Path):
    markdown = to_markdown(shown(load(name), full, seeds=(0, 1, 2)))
    lines = table_lines(markdown)
    assert len({len(line) for line in lines}) == 1 and len({line.count("|") for line in lines}) == 1
    assert max(len(line) for line in markdown.splitlines()) <= 170


def test_settings_stand_side_by_side(full: Path):
    shape = shown(load("table1"), full)
    assert shape.settings == ("nonvoc → voc", "voc → nonvoc") and len(shape.blocks) == 19
    assert shape.numbers == (*METRICS, "IoU", "paper")
    assert {len(block.cells) for block in shape.blocks} == {16}
    assert {len(block.cells) for block in shown(load("table1"), full, PAPER).blocks} == {12}


def test_what_is_constant_is_said_once(full: Path):
    shape = shown(load("table4"), full, seeds=(0, 1))
    assert shape.columns == ("Variant",)
    assert shape.facts == (
        "scale smoke", "preset paper", "seeds 0, 1", "ContrastMask", "ResNet-50", "1x", "4 mask layers", "nonvoc → voc",
    )  # fmt: skip


def test_numbers_are_rounded_for_people(full: Path):
    block = shown(load("table4"), full, PAPER, seeds=(0, 1)).blocks[0]
    assert {kind: texts[0] for kind, texts in block.lines(True)} == {
        "here": "45.0", "sd": "63.6", "paper": "34.4", "diff": "+10.6",
    }  # fmt: skip


def test_status_of_one_setting_only(results: Path, put: Put):
    run = next(row.run.id for row in load("table1").rows if row.label == "Ours" and row.setting == "nonvoc2voc")
    put(run, 0)
    ours = next(b for b in shown(load("table1"), results, seeds=(0, 1)).blocks if b.lead[0] == "ContrastMask (Ours)")
    assert ours.remarks == ("nonvoc2voc: 1 of 2 seeds", "voc2nonvoc: not run")


def test_notes_stand_under_the_name_before_the_status(results: Path):
    cpmask, *_ = (b for b in shown(load("table1"), results).blocks if b.lead[0] == "CPMask")
    assert cpmask.remarks == ("reconstruction", "not run")


@pytest.mark.parametrize("render", [to_markdown, to_html, to_tex])
def test_notes_are_in_every_format_with_and_without_numbers(render: Callable[[View], str], full: Path, tmp_path: Path):
    for results in (full, tmp_path / "none"):
        assert render(shown(load("table1"), results)).count("reconstruction") == 4
        assert "reconstruction" not in render(shown(load("table4"), results))


def test_a_note_of_one_setting_only_names_it(results: Path):
    plain, marked = (
        RunSpec("contrastmask", "r50", "1x", setting, "paper", options)
        for setting, options in (("nonvoc2voc", ()), ("voc2nonvoc", (("novel_masks", "all"),)))
    )
    rows = [Row("table8", "a", "contrastmask", "r50", "1x", spec.setting, 4, spec) for spec in (plain, marked)]
    (block,) = shown(Table("table8", "T", "C", tuple(rows)), results).blocks
    assert block.remarks == ("voc2nonvoc: uses novel masks", "not run")


# ---------------------------------------------------------------------------- comparability


@pytest.mark.parametrize("render", [to_markdown, to_html, to_tex])
def test_nothing_is_compared_at_any_scale_but_paper(render: Callable[[View], str], full: Path):
    """34.4 is printed; here stands 45.0. The printed number has its own column, and IoU stands beside AP."""
    small, paper = (render(shown(load("table4"), full, scale, seeds=(0, 1))) for scale in (SMOKE, PAPER))
    assert "34.4" in small and "45.0" in small and "Made up for a test." in small
    assert "paper, COCO" in small and "mask IoU" in small and "not to be compared" in small
    assert "10.6" not in small and "diff" not in re.sub(r"<style>.*?</style>", "", small, flags=re.S)
    assert "60.2" not in small  # the printed AP50
    assert "10.6" in paper and "34.4" in paper and "diff" in paper and "60.2" in paper
    assert "paper, COCO" not in paper and "mask IoU" not in paper
    grey = {to_markdown: "", to_html: '<td class="cell printed">34.4</td>', to_tex: r"\textcolor{gray}{34.4}"}
    assert grey[render] in small
    signs = {sign for sign in "=▲▼" if f'aria-hidden="true">{sign}' in small}
    assert not signs and ('aria-hidden="true">=' in paper or render is not to_html)


def test_a_table_of_which_nothing_is_printed_has_no_column_for_it(results: Path):
    spec = RunSpec("contrastmask", "r50", "1x", "masks2boxes", "paper", ())
    table = Table("mine", "T", "C", (Row("mine", "a", "contrastmask", "r50", "1x", "masks2boxes", 4, spec),))
    view = shown(table, results, SMOKE)
    assert view.numbers[-1] == "IoU"
    assert "paper, COCO" not in to_markdown(view) + to_html(view) + to_tex(view)


# ---------------------------------------------------------------------------- HTML


def test_html_nests_and_needs_no_other_file(full: Path):
    html = to_html(shown(load("table1"), full, seeds=(0, 1)))
    page = Page(html)
    assert page.tags.count("tr") == 19 + 2
    assert not {"script", "img"} & set(page.tags) and page.tags.count("link") == 1  # the empty icon


@pytest.mark.parametrize(("scale", "cells"), [(SMOKE, 16), (PAPER, 12)])
def test_html_rows_have_equal_width(full: Path, scale: dict[str, Any], cells: int):
    html = to_html(shown(load("table1"), full, scale, seeds=(0, 1)))
    for row in re.findall(r"<tr.*?</tr>", html[html.index("<tbody>") :], re.S):
        assert (row.count("<td"), row.count('class="lead"')) == (cells, 4)


@given(TEXT)
def test_html_is_unmoved_by_any_label(tmp_path_factory: pytest.TempPathFactory, label: str):
    results = tmp_path_factory.getbasetemp()
    page, harmless = (Page(to_html(shown(labelled(text), results))) for text in (label, "harmless"))
    assert page.tags == harmless.tags
    assert label in "".join(page.text)


# ---------------------------------------------------------------------------- LaTeX


def without_escapes(tex: str) -> str:
    return re.sub(r"\\[\\&%$#_{}]", "", tex)


def assert_complete(tex: str) -> None:
    """Braces and environments are balanced, and every row has as many columns as the tabular."""
    depth = 0
    for char in without_escapes(tex):
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    assert depth == 0
    assert tex.count(r"\begin{") == tex.count(r"\end{")
    columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", tex)[1])
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    spans = [sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row)) for row in rows]
    widths = [re.sub(r"\\&", "", row).count("&") + 1 + span for row, span in zip(rows, spans, strict=True)]
    assert widths == [columns] * len(rows)


@pytest.mark.parametrize("name", ["table1", "table4"])
def test_tex_is_complete(name: str, full: Path):
    tex = to_tex(shown(load(name), full, seeds=(0, 1)))
    assert_complete(tex)
    order = [r"\toprule", r"\midrule", r"\bottomrule"]
    assert all(tex.index(first) < tex.index(second) for first, second in pairwise(order))


@given(TEXT)
def test_tex_is_complete_with_any_label(tmp_path_factory: pytest.TempPathFactory, label: str):
    assert_complete(to_tex(shown(labelled(label), tmp_path_factory.getbasetemp())))


LITERAL_TEX = re.compile(
    r"(\\[&%$#_{}]|\\text[a-z]+\{\}|\{[\[\]*]\}|\$\\[a-z]+\$|\$-\$|[^&%$#_{}~^\\<>|\[\]*])*"
)  # fmt: skip


@given(st.text(alphabet="ab &%$#_{}~^\\<>|[]*→σ−", min_size=1))
def test_tex_escape_leaves_nothing_active(text: str):
    assert LITERAL_TEX.fullmatch(formats.escape_tex(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50% & $x_1$", r"50\% \& \$x\_1\$"),
        ("<script>", r"\textless{}script\textgreater{}"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("[2pt] a\nb", "{[}2pt{]} a b"),
    ],
)
def test_tex_escape(text: str, expected: str):
    assert formats.escape_tex(text) == expected


# ---------------------------------------------------------------------------- markdown escaping


@given(TEXT)
def test_markdown_keeps_its_grid_with_any_label(tmp_path_factory: pytest.TempPathFactory, label: str):
    lines = table_lines(to_markdown(shown(labelled(label), tmp_path_factory.getbasetemp())))
    assert len(lines) == 4  # heads, rule, one line of numbers, one remark
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {10}


@given(st.text(alphabet="ab_`*[]<>|~$#&\\ ", min_size=1))
def test_markdown_escape_is_literal(text: str):
    escaped = formats.escape_markdown(text)
    assert re.sub(r"\\([\\`*\[\]<>|~$#&_])", r"\1", escaped) == " ".join(text.split())
    unescaped = re.sub(r"\\.", "x", escaped)
    assert not re.search(r"[\\`*\[\]<>|~$#&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", unescaped)


def test_a_caption_cannot_start_a_list_or_a_heading(results: Path):
    caption = " ".join(["1. one", "- two", "+ three", "=== four", "# five", "> six"] * 12)
    markdown = to_markdown(shown(Table("table8", "T", caption, labelled("a").rows), results))
    prose = markdown.split("\n\n")[1].splitlines()
    assert len(prose) > 2 and not any(re.match(r"([-+#>=]|\d+[.)])", line) for line in prose)
