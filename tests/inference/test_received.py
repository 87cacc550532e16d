"""A model from elsewhere: our own configurations pass, and nothing of another one but its numbers."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from models import tiny

from contrastmask.config import CONFIGS, all_runs, load_tables, resolve, settings_with
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.errors import ConfigError
from contrastmask.inference.received import LARGEST, check_config, read_model


@pytest.mark.parametrize("scale", sorted(path.stem for path in (CONFIGS / "scales").glob("*.yaml")))
@pytest.mark.parametrize("preset", ["paper", "official"])
def test_every_run_of_every_table_passes(scale: str, preset: str) -> None:
    makes_its_own = read_yaml(CONFIGS / "scales" / f"{scale}.yaml", "scale")["dataset"]["kind"] == "synthetic"
    asked = {"scale": scale, "preset": preset, "data_root": None if makes_its_own else "/data"}
    settings = settings_with(asked)
    runs = all_runs(load_tables(settings))
    trained = [run for run in runs.values() if not run.detector]  # the others have no weights of their own
    for run in trained:
        check_config(resolve(run, settings), run.id)
    assert len(trained) > 30


def put(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of a configuration: `value` at config[keys[0]][keys[1]]…"""

    def change(config: dict[str, Any]) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


URL = "http://example.org/weights.pth"
BACKBONE = ("model", "backbone")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(*BACKBONE, "init_cfg", value={"type": "Pretrained", "checkpoint": URL}), r"backbone\.init_cfg is more"),
        (put(*BACKBONE, "pretrained", value=URL), "pretrained"),
        (put(*BACKBONE, "type", value="os.system"), r"model\.backbone\.type is 'os\.system'"),
        (put(*BACKBONE, "type", value="SwinTransformer"), "SwinTransformer"),
        (put("model", "type", value="mmpretrain.ImageClassifier"), "mmpretrain"),
        (put("model", "_scope_", value="mmpretrain"), "_scope_"),
        (put("model", "test_cfg", "rcnn", "nms", "type", value="__import__('os').getcwd()"), "__import__"),
        (put("model", "neck", "norm_cfg", value=[{"type": "BN"}, {"type": "torch.hub.load"}]), "norm_cfg"),
        (put("model", "backbone", "style", value="caffe"), r"style is 'caffe' instead of 'pytorch'"),
        (put("model", "train_cfg", "rpn", value=None), r"train_cfg\.rpn is None"),
        (put("model", "neck", "in_channels", value=[8]), r"neck\.in_channels is \[8\]"),
        (put("model", "neck", "num_outs", value="5"), r"neck\.num_outs is '5' instead of 5"),
        (put("model", "neck", "out_channels", value=LARGEST + 1), f"more than {LARGEST}"),
        (put("model", "neck", "out_channels", value=10**400), f"more than {LARGEST}"),
        (put("model", "neck", "out_channels", value=math.inf), f"more than {LARGEST}"),
        (put("model", "roi_head", "options", "cl_convs", value=10**9), f"more than {LARGEST}"),
        (put("model", "roi_head", "options", "fusion", value="os.system"), "fusion"),
        (put("model", "roi_head", "options", "new", value=1), "has no option 'new'"),
        (put("model", "roi_head", "options", value=None), "options is missing"),
        (put("method", value="../../evil"), "unknown method"),
        (put("method", value=None), "unknown method"),
        (put("backbone", value="../methods/mask-rcnn"), "unknown backbone"),
        (put("backbone", value=["r50"]), "unknown backbone"),
        (put("schedule_name", value="../base"), "unknown schedule_name"),
        (put("model", value="MaskRCNN"), "no model"),
        (put("image", value={"test": [10**9, 10**9]}), r"image\.test"),
        (put("image", value=None), r"image\.test"),
    ],
)
def test_what_is_not_ours_is_refused_and_named(change: Callable[[dict[str, Any]], None], said: str) -> None:
    config = copy.deepcopy(tiny.resolved("contrastmask", "paper", {}))
    check_config(config, "config.json")
    change(config)
    with pytest.raises(ConfigError, match=said) as error:
        check_config(config, "config.json")
    assert str(error.value).startswith("config.json: ")


def test_a_scale_of_ones_own_changes_numbers_alone(tmp_path: Path) -> None:
    """What an installed scale's `config` says is ours; a scale that is named by a path is not."""
    config = copy.deepcopy(tiny.resolved("contrastmask", "paper", {}))
    config["model"]["test_cfg"]["rcnn"]["max_per_img"] = 7
    for name in ("mine", ["smoke"], None):
        check_config(config | {"scale": name}, "config.json")
    text = (CONFIGS / "scales" / "smoke.yaml").read_text()
    (tmp_path / "evil.yaml").write_text(text.replace("  model:\n", "  model:\n    backbone: {type: os.system}\n"))
    assert read_yaml(tmp_path / "evil.yaml", "scale")["config"]["model"]["backbone"] == {"type": "os.system"}
    config["model"]["backbone"]["type"] = "os.system"
    with pytest.raises(ConfigError, match=r"os\.system"):
        check_config(config | {"scale": str(tmp_path / "evil")}, "config.json")


@pytest.mark.parametrize("content", [None, [], "x", {}, {"model": {}}])
def test_what_is_no_configuration_is_refused(content: Any) -> None:
    with pytest.raises(ConfigError):
        check_config(content, "config.json")


def test_a_folder_that_holds_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json is missing: give a folder that `contrastmask export` wrote"):
        read_model(tmp_path)


def test_a_method_is_never_looked_for_outside_configs(tmp_path: Path) -> None:
    """Fragments are Python: one that a configuration could point to would run."""
    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = copy.deepcopy(tiny.resolved("contrastmask", "paper", {})) | {"method": str(evil.with_suffix(""))}
    with pytest.raises(ConfigError, match="unknown method"):
        check_config(config, "config.json")
    assert not (tmp_path / "ran").exists()
