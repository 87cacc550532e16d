"""Reading a trained model: what fits is taken, what could run code or does not fit is refused."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from evil import Evil
from safetensors.torch import save_file

from contrastmask.config import config_hash
from contrastmask.errors import ConfigError, DataError
from contrastmask.inference.export import export
from contrastmask.inference.received import read_model
from contrastmask.inference.trained import load_run, run_folder
from contrastmask.training import build
from contrastmask.training.weights import read


@pytest.fixture
def exported(run: Path, tmp_path: Path) -> Path:
    export(run, tmp_path / "model")
    return tmp_path / "model"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ---------------------------------------------------------------------------- runs


def test_a_run_has_its_categories_in_the_order_of_the_labels(run: Path) -> None:
    trained = load_run(run)
    assert [(c["id"], c["split"]) for c in trained.categories] == [
        (1, "novel"), (2, "base"), (5, "novel"), (9, "base")
    ]  # fmt: skip


def test_a_model_that_saw_novel_masks_says_so(run: Path) -> None:
    trained = load_run(run)
    assert trained.trained_with["novel"] == "boxes only"
    trained.config["model"]["roi_head"]["options"]["novel_masks"] = "all"
    assert "upper bound" in trained.trained_with["novel"]


def test_an_unknown_run_is_answered_with_the_closest(results: Path, run: Path) -> None:
    name = run.parent.name
    assert run_folder(results, "smoke", name, 0) == run
    for arguments, said in (
        ((results / "none", "smoke", name, 0), "--results"),
        ((results, "paper", name, 0), "--scale"),
        ((results, "smoke", name.replace("paper", "papier"), 0), f"such as: {name}"),
        ((results, "smoke", name, 3), "there are: 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            run_folder(*arguments)


def test_a_run_that_is_not_trained_says_how(results: Path, tmp_path: Path) -> None:
    (tmp_path / "smoke" / "runs" / "new" / "seed0").mkdir(parents=True)
    with pytest.raises(ConfigError, match="snakemake --cores 1"):
        run_folder(tmp_path, "smoke", "new", 0)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("data/dataset.json", {"digest": "other"}, "has changed since"),
        ("data/nonvoc2voc/split.json", {"digest": "other"}, "has changed since"),
        ("runs/{run}/seed0/config.json", {"config": {"seed": 1}}, "`config` was edited"),
        ("runs/{run}/seed0/train.json", None, "lacks run, config_hash"),
        ("runs/{run}/seed0/train.json", {"provenance": 1}, "lacks provenance"),
        ("runs/{run}/seed0/train.json", {"run": "\ud800"}, "half of a character"),
        ("data/dataset.json", None, "lacks digest, train, val, categories"),
    ],
)
def test_a_run_of_other_data_or_configuration_is_refused(
    results: Path, run: Path, tmp_path: Path, file: str, changes: dict[str, Any] | None, said: str
) -> None:
    shutil.copytree(results, tmp_path / "results")
    path = tmp_path / "results" / "smoke" / file.format(run=run.parent.name)
    if changes is None:
        path.write_text("{}")
    else:
        edit(path, **changes)
    with pytest.raises((ConfigError, DataError), match=said):
        load_run(tmp_path / "results" / run.relative_to(results))


# ---------------------------------------------------------------------------- from elsewhere


def test_an_export_is_the_run(run: Path, exported: Path) -> None:
    ours, theirs = load_run(run), read_model(exported)
    assert (theirs.config, theirs.categories) == (ours.config, ours.categories)
    assert theirs.weights.keys() == ours.weights.keys()
    assert all(theirs.weights[name].equal(value) for name, value in ours.weights.items())
    assert read_model(run).name == ours.name, "the folder of a run is a model, too"


def test_a_checkpoint_beside_configuration_and_categories_is_a_model(exported: Path) -> None:
    weights = read_model(exported).weights
    torch.save({"state_dict": weights}, exported / "other.pth")
    torch.save(weights, exported / "plain.pth")
    for name in ("other.pth", "plain.pth", "model.safetensors"):
        assert read_model(exported / name).weights.keys() == weights.keys()


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle", "renamed"])
def test_a_checkpoint_with_code_is_refused_and_not_run(exported: Path, tmp_path: Path, how: str) -> None:
    mark, path = tmp_path / "ran", exported / "evil.pth"
    content = {"state_dict": {}, "meta": Evil(mark)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")
    if how == "renamed":
        path = path.rename(exported / "model.safetensors")
    with pytest.raises(ConfigError, match=r"cannot be read as weights.*could run code"):
        read_model(path)
    assert not mark.exists()
    if how == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert mark.exists(), "the attack is a real one"


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"hello", b"PK\x03\x04 and no more"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_broken_weights_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken.*Fetch it again"):
        read(path, str(path))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", "{", "not valid JSON"),
        ("config.json", "[" * 100_000, "not valid JSON"),
        ("config.json", None, "is missing: give a folder"),
        ("config.json", '{"model": {"type": "os.system"}}', "unknown method"),
        ("categories.json", None, "is missing: give a folder"),
        ("categories.json", '["person"]', "JSON object"),
        ("categories.json", '{"categories": ["person"]}', "split"),
        ("categories.json", '{"categories": [{"id": 1, "name": "a"}]}', "split"),
        ("categories.json", '{"categories": []}', "split"),
        ("model.safetensors", None, "missing"),
    ],
)
def test_files_that_are_missing_or_wrong_are_named(exported: Path, file: str, content: str | None, said: str) -> None:
    if content is None:
        (exported / file).unlink()
    else:
        (exported / file).write_text(content)
    with pytest.raises((ConfigError, DataError), match=said) as error:
        read_model(exported)
    assert file in str(error.value)


def test_a_model_that_is_not_there_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contrastmask export"):
        read_model(tmp_path / "none")


def test_categories_that_do_not_fit_the_weights_are_refused(exported: Path) -> None:
    categories = json.loads((exported / "categories.json").read_text())["categories"]
    swapped = [c | {"split": "base" if c["split"] == "novel" else "novel"} for c in categories]
    for wrong, said in ((categories[:-1], "do not make a detector"), (swapped, "other base categories")):
        edit(exported / "categories.json", categories=wrong)
        with pytest.raises(ConfigError, match=said):
            read_model(exported).detector("cpu")
    edit(exported / "categories.json", categories=[c | {"id": 1} for c in categories])
    with pytest.raises(ConfigError, match="same id"):
        read_model(exported)


def test_weights_that_do_not_fit_the_configuration_are_refused(exported: Path) -> None:
    save_file({"a": torch.zeros(1)}, exported / "model.safetensors")
    with pytest.raises(ConfigError, match="do not make a detector"):
        read_model(exported).detector("cpu")


def test_numbers_that_ask_for_absurd_memory_are_refused_before_any_is_taken(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, devices = json.loads((exported / "config.json").read_text()), []

    def build_model(*arguments: Any, **options: Any) -> torch.nn.Module:
        devices.append(torch.empty(0).device.type)
        return build_model_as_it_is(*arguments, **options)

    build_model_as_it_is = build.build_model
    monkeypatch.setattr(build, "build_model", build_model)
    config["model"]["roi_head"]["bbox_head"]["conv_out_channels"] = 10_000  # 14 GiB in four layers
    (exported / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"weights do not fit, such as roi_head\.bbox_head\..* instead of \[10000\]"):
        read_model(exported).detector("cpu")
    assert devices == ["meta"]


def test_a_large_model_cannot_come_out_of_a_small_file(exported: Path) -> None:
    """Strides of zero make a number any shape."""
    weights = read_model(exported).weights
    torch.save(
        {name: torch.zeros((), dtype=v.dtype).expand(v.shape) for name, v in weights.items()}, exported / "w.pth"
    )
    with pytest.raises(ConfigError, match="its weights repeat the same"):
        read_model(exported / "w.pth").detector("cpu")


def test_the_folder_of_a_run_from_elsewhere_is_checked_like_an_export(results: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "results")
    folder = tmp_path / "results" / run.relative_to(results)
    content = json.loads((folder / "config.json").read_text())
    content["config"]["model"]["backbone"]["type"] = "os.system"
    edit(folder / "config.json", config=content["config"], config_hash=config_hash(content["config"]))
    edit(folder / "train.json", config_hash=config_hash(content["config"]))
    assert load_run(folder).config == content["config"], "one's own runs may name any class"
    with pytest.raises(ConfigError, match=r"os\.system"):
        read_model(folder)
    with pytest.raises(ConfigError, match=r"os\.system"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
