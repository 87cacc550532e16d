"""The printed numbers and names, and the table files that must reproduce the printed rows."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from contrastmask.config import CONFIGS, Row, load_table
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.errors import ConfigError
from contrastmask.report import paper

TABLES = [f"table{number}" for number in range(1, 8)]


def rows_of(name: str) -> tuple[Row, ...]:
    return load_table(name, "paper").rows


def test_the_table_files_give_the_printed_rows_in_the_printed_order():
    with (CONFIGS / "paper" / "paper_tables.csv").open(newline="") as file:
        expected = [{key: line[key] for key in paper.KEYS} for line in csv.DictReader(file)]
    assert [paper.keys(row) for name in TABLES for row in rows_of(name)] == expected
    assert len(expected) == 56


@pytest.mark.parametrize("name", TABLES)
def test_every_row_of_the_paper_has_its_printed_numbers(name: str):
    assert all(paper.printed(row) is not None for row in rows_of(name))


def test_printed_numbers_of_one_row():
    row = next(row for row in rows_of("table4") if row.label == "sigma=0.3")
    expected = {"AP": 35.1, "AP50": 60.8, "AP75": 35.7, "APs": 17.2, "APm": 34.7, "APl": 47.7}
    assert paper.printed(row) == expected


def test_a_printed_dash_is_none():
    row = next(row for row in rows_of("table1") if row.method == "cpmask" and row.setting == "nonvoc2voc")
    assert paper.printed(row) == dict.fromkeys(paper.METRICS)


def test_rows_that_the_paper_lacks():
    row = rows_of("table4")[0]
    assert paper.printed(replace(row, label="sigma=0.15")) is None
    assert paper.printed(replace(row, table="table8")) is None
    assert paper.keys(replace(row, table="table8"))["table"] == "table8"


def test_names_that_are_not_listed_are_shown_as_they_are():
    assert paper.name("methods", "maskx-rcnn") == "MaskX R-CNN"
    assert paper.name("methods", "my-method") == "my-method"
    assert paper.link("my-method") is None


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("title: T\ncaption: C\nrows: [{lable: a}]", "lable"),
        ("title: T\ncaption: C\nrow: []", "row"),
        ("title: T\ncaption: C\nbase: {methods: x}\nrows: [{label: a}]", "methods"),
        ("title: T\ncaption: C\nrows: [{options: {sigma: [1]}}]", "options.sigma"),
        ("title: T\ncaption: C\nrows: [{preset: offical}]", "preset"),
    ],
)
def test_a_misspelt_key_names_the_file_and_the_key(tmp_path: Path, text: str, key: str):
    file = tmp_path / "table8.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_yaml(file, "table")
    assert str(file) in str(error.value) and key in str(error.value)
