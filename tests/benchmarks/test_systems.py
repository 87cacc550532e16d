"""The distinct systems of some tables."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks.systems import BASELINE, categories, systems, without_data
from contrastmask.config import CONFIGS
from contrastmask.config.fragments import fragment
from contrastmask.errors import ConfigError


def test_each_network_is_there_once_and_every_method_of_table_1() -> None:
    found = systems(without_data("paper"))
    assert len({json.dumps(s.config["model"], sort_keys=True) for s in found}) == len(found)
    assert found[0].spec.method == BASELINE
    named = {
        row["method"]
        for row in yaml.safe_load((CONFIGS / "tables" / "table1.yaml").read_text())["rows"]
        if "method" in row
    }
    there = {method for method in named if (CONFIGS / "methods" / f"{method}.py").exists()}
    trained = {method for method in there if "model" in fragment(CONFIGS / "methods" / f"{method}.py")}
    assert {s.spec.method for s in found} == trained | {"contrastmask", "deep-marc"}
    shown = {(s.name, s.spec.backbone) for s in found}
    assert {("ContrastMask (Ours)", "r50"), ("ContrastMask (Ours)", "x101"), ("Deep-MARC (HG-52)", "r50")} <= shown


def test_on_one_backbone_a_system_is_there_once() -> None:
    found = systems(without_data("smoke"), backbone="r50")
    assert {s.spec.backbone for s in found} == {s.config["backbone"] for s in found} == {"r50"}
    assert [s.name for s in found].count("ContrastMask (Ours)") == 1


def test_a_method_without_a_network_of_its_own_is_left_out(configs: Path) -> None:
    (configs / "methods" / "mask-grabcut.py").write_text('"""No training: the baseline\'s boxes."""\n')
    table = {"title": "t", "caption": "c", "base": {"backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc"}}
    rows = [{"method": "mask-rcnn"}, {"method": "nobodys"}]
    (configs / "tables" / "mine.yaml").write_text(yaml.safe_dump(table | {"rows": rows}))
    names = yaml.safe_load((configs / "paper" / "names.yaml").read_text())
    names["methods"]["nobodys"] = {"name": "Nobody's"}
    (configs / "paper" / "names.yaml").write_text(yaml.safe_dump(names))
    found = systems(without_data("smoke"), ["mine"])
    assert [s.spec.method for s in found] == ["mask-rcnn"]


def test_a_scale_has_its_number_of_categories() -> None:
    for scale, number, base in (("smoke", 8, 6), ("paper", 80, 60)):
        dataset, split = categories(without_data(scale))
        assert (len(dataset["categories"]), len(split["base"])) == (number, base)


def test_an_unknown_scale_is_named() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        without_data("nowhere")
