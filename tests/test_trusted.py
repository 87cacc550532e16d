"""docs/trust.md, sentence by sentence: nothing from outside runs, leaves results/, or reaches a page unescaped."""

import ast
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from evil import Evil

from contrastmask.cli import main
from contrastmask.config import CONFIGS, find_run, load_table, load_tables, settings_with
from contrastmask.config.options import preset_options
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.data import splits
from contrastmask.errors import ConfigError, Failed
from contrastmask.paths import ROOT
from contrastmask.training import checkpoint
from contrastmask.training.weights import WeightsError


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """What appears if something ran."""
    return tmp_path / "ran"


def packed(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


# ---------------------------------------------------------------------------- what is loaded runs no code


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """(place, dotted name, call) of every call in the package."""
    for path in sorted((ROOT / "contrastmask").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.func), node


SAFE = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False), "Environment": ("autoescape", True)}
NEVER = {
    *(
        "eval",
        "exec",
        "compile",
        "__import__",
        "os.system",
        "os.popen",
        "yaml.load",
        "yaml.unsafe_load",
        "yaml.full_load",
    ),
    *("pickle.load", "pickle.loads", "joblib.load", "torch.hub.load", "Config.fromfile", "load_checkpoint"),
}


#: mmdet's configuration inside the installed mmdet, which is code like the rest of it.
MMDETS_OWN = ("benchmarks/stock.py", "Config.fromfile")


def test_no_reader_of_the_package_can_run_what_it_reads() -> None:
    """The only code that is run by its path is this project's own configs/*.py."""
    wrong, run_by_path, seen = [], set(), set()
    for place, name, call in calls():
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
        if name in SAFE:
            seen.add(name)
            key, value = SAFE[name]
            wrong += [] if given.get(key) is value else [f"{place}: {name} without {key}={value}"]
        packaged = (place.partition(":")[0], name) == MMDETS_OWN
        wrong += [f"{place}: {name}"] if (name in NEVER and not packaged) or given.get("shell") else []
        run_by_path |= {place.partition(":")[0]} if name.startswith("runpy.") else set()
    assert not wrong
    assert seen == set(SAFE)
    assert run_by_path == {"contrastmask/config/fragments.py"}


def test_a_checkpoint_runs_nothing(tmp_path: Path, ran: Path) -> None:
    content = packed({"identity": "me", "model": Evil(ran)})
    (tmp_path / "iter_3.pth").write_bytes(content + hashlib.sha256(content).digest() + b"CMASKv1\n")
    with pytest.raises(Failed, match="cannot open"):
        checkpoint.latest(tmp_path, identity="me")
    with pytest.raises(Failed, match="cannot open"):
        checkpoint.load_weights(tmp_path / "iter_3.pth")
    assert not ran.exists()


def test_weights_of_a_backbone_run_nothing(tmp_path: Path, ran: Path) -> None:
    """mmengine alone would fall back to a pickle that runs."""
    from models import tiny

    from contrastmask.training.build import build_model

    file = tmp_path / "r50.pth"
    file.write_bytes(packed({"w": Evil(ran)}))
    with pytest.raises(WeightsError):
        build_model(tiny.resolved("mask-rcnn", "paper", {}), tiny.DATASET, tiny.SPLIT, weights=str(file)).init_weights()
    assert not ran.exists()


def test_yaml_runs_nothing(tmp_path: Path, ran: Path) -> None:
    file = tmp_path / "evil.yaml"
    file.write_text(f"name: !!python/object/apply:os.mkdir ['{ran}']\ncategories: [person]\n")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        read_yaml(file, "scale")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        splits.read_list(file)
    assert not ran.exists()


def test_a_whole_number_has_no_point(tmp_path: Path) -> None:
    """JSON Schema takes 4.0 for one; it cannot count images."""
    text = (CONFIGS / "scales" / "coco-mini.yaml").read_text()
    (tmp_path / "mini.yaml").write_text(text.replace("batch: 4\n", "batch: 4.0\n", 1))
    with pytest.raises(ConfigError, match=r"batch: 4\.0 is not of type 'integer'"):
        read_yaml(tmp_path / "mini.yaml", "scale")


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    """As a table's label it could not be written anywhere."""
    (tmp_path / "a.yaml").write_text('title: "so\\ud800me"\n')
    with pytest.raises(ConfigError, match=r"a\.yaml cannot be read as YAML: half of a character in 'so\\ud800me'"):
        read_yaml(tmp_path / "a.yaml", "table")


# ---------------------------------------------------------------------------- names cannot leave results/

OUTSIDE = ("../outside", "..", "/tmp/outside", "a/b", "a\\..\\b", "", ".hidden", "a\nb", "$(touch x)")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_scale_a_table_or_a_backbone_is_no_path(name: str) -> None:
    for changes in ({"scale": name}, {"tables": [name]}, {"weights": {name: "w.pth"}}):
        with pytest.raises(ConfigError):
            settings_with(changes)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_run_is_one_of_the_tables(name: str) -> None:
    with pytest.raises(ConfigError, match="no row of a table"):
        find_run(load_tables(settings_with({})), name)


@pytest.mark.parametrize("key", ["method", "backbone", "schedule", "setting", "preset"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_what_names_a_run_is_no_path(configs: Path, key: str, name: str) -> None:
    base = {"method": "contrastmask", "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc"}
    table = {"title": "t", "caption": "c", "base": base, "rows": [{key: name}]}
    (configs / "tables" / "table9.yaml").write_text(json.dumps(table))
    with pytest.raises(ConfigError):
        load_table("table9", "paper")


def test_every_text_of_an_option_is_one_of_a_list(configs: Path) -> None:
    """Options are part of a run's folder."""
    base = {"method": "contrastmask", "backbone": "r50", "schedule": "1x", "setting": "nonvoc2voc"}
    for option, value in preset_options("contrastmask", "paper").items():
        if isinstance(value, str):
            table = {"title": "t", "caption": "c", "base": base, "rows": [{"options": {option: "../outside"}}]}
            (configs / "tables" / "table9.yaml").write_text(json.dumps(table))
            with pytest.raises(ConfigError):
                load_table("table9", "paper")


@pytest.mark.parametrize("name", OUTSIDE[:3])
@pytest.mark.parametrize(
    "asked",
    [
        *("predict a.jpg --run NAME", "predict a.jpg --run r --scale NAME", "export --run NAME --out x"),
        *(
            "export --run r --scale NAME --out x",
            "log-model --run NAME",
            "compare NAME r",
            "compare r NAME",
            "compare r s --scale NAME",
        ),
        *("configure NAME", "configure --scale NAME r", "tables NAME", "tables table2 --folder NAME"),
        *("tables table2 --scale NAME", "claims --scale NAME", "evidence --scale NAME", "figure figure6 --scale NAME"),
        *("look --scale NAME", "look --setting NAME", "report --scale NAME", "plan NAME", "init . --name NAME"),
    ],
)
def test_no_verb_takes_a_name_that_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, name: str
) -> None:
    """Not even where such a folder is there: a run of another place is not opened, and nothing is written beside."""
    place = tmp_path / "place"
    (place / "results" / "smoke" / "runs").mkdir(parents=True)
    (tmp_path / "outside" / "seed0").mkdir(parents=True)
    (place / "a.jpg").touch()
    monkeypatch.chdir(place)
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(main, [name if word == "NAME" else word for word in asked.split()])
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    assert sorted(tmp_path.rglob("*")) == before


# ---------------------------------------------------------------------------- what a terminal is told

EVIL = "[red]x\x1b[2J\u202e"


def test_messages_write_out_what_would_move_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of files and categories, in errors, warnings and prints; rich's tables: tests/report."""
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / f"{EVIL}.json").write_text("{}")
    result = CliRunner().invoke(main, ["init", str(tmp_path / "strange")])
    assert result.exit_code == 2 and r"[red]x\x1b[2J\u202e.json" in result.output and "\x1b" not in result.output

    categories = [{"id": 1, "name": EVIL}, {"id": 2, "name": EVIL + "2"}]
    objects = [{"category_id": 1, "segmentation": [[2, 2, 9, 2, 9, 9]]}, {"category_id": 2, "segmentation": []}]
    dataset = {"categories": categories, "train": {"annotations": "train.json"}}
    splits.decide("masks2boxes", dataset, {"annotations": objects}, splits.SPLITS, show=True)
    said = capsys.readouterr()
    assert r"[red]x\x1b[2J\u202e" in said.out and "\x1b" not in said.out + said.err


# ---------------------------------------------------------------------------- servers


def test_nothing_in_the_repository_binds_to_every_address() -> None:
    text = {path: path.read_text(errors="replace") for folder in ("contrastmask", "workflow", "profiles", "configs")
            for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".smk", ".yaml", ".sh")}  # fmt: skip
    found = {path.name for path, content in text.items() if "0.0.0.0" in content}
    assert not found
