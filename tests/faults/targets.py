"""What bad files are fed to, and how to tell a wrong success. Imported in a copy of the project (see fuzz.py).

Each function takes finished results at scale micro and returns a function of a Random that makes one bad input, feeds
it, and returns whether it was taken.
"""

import contextlib
import copy
import gzip
import hashlib
import io
import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import torch
import yaml
from faults.damage import STRANGE, as_json, cut_or_flipped, spoiled
from faults.fuzz import Wrong, outcome
from faults.micro import RUN
from PIL import Image
from pycocotools.coco import COCO
from safetensors.torch import save

from contrastmask.cli import main as contrastmask
from contrastmask.data import dataset, splits
from contrastmask.errors import ConfigError, Failed
from contrastmask.inference.trained import read_weights
from contrastmask.paths import CONFIGS
from contrastmask.tracking import tracking
from contrastmask.tracking.curves import Curves
from contrastmask.training import checkpoint

Target = Callable[[Random], bool]


def verb(*arguments: str) -> bool:
    return outcome(lambda: contrastmask(list(arguments)))


def as_yaml(document: Any, random: Random) -> bytes:
    if random.random() < 0.2:
        return cut_or_flipped(yaml.safe_dump(document).encode(), random)
    text = yaml.safe_dump(spoiled(document, random), allow_unicode=True)
    if random.random() < 0.05:
        text += "evil: !!python/object/apply:os.system ['touch escaped']\n"
    return text.encode("utf-8", "surrogatepass")


def nothing_escaped() -> None:
    """Nothing was made where a name in a file pointed to."""
    for path in (Path("escaped"), Path("/tmp/escaped"), Path("../escaped"), Path("../../escaped")):
        if path.exists():
            raise Wrong(f"{path.resolve()} was made")


# ---------------------------------------------------------------------------- data


def annotations(results: Path) -> Target:
    """A COCO-format folder of three images, one of its two files bad, to `prepare`."""
    root = results / "fuzz-data"
    box = {"bbox": [2, 2, 8, 6], "area": 48, "iscrowd": 0, "segmentation": [[2, 2, 10, 2, 10, 8, 2, 8]]}
    rle = {
        "bbox": [0, 0, 4, 4],
        "area": 16,
        "iscrowd": 1,
        "segmentation": {"size": [24, 32], "counts": [0, 4, 20, 4, 740]},
    }
    categories = [{"id": 1, "name": "person"}, {"id": 8, "name": "truck"}]
    contents = {}
    for part, ids in (("train", (1, 2)), ("val", (3,))):
        for number in ids:
            (root / part).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 24), (number * 40, 9, 9)).save(root / part / f"{number}.png")
        images = [{"id": n, "file_name": f"{n}.png", "width": 32, "height": 24} for n in ids]
        listed = [{"id": 10 * n + k, "image_id": n, "category_id": c, **each}
                  for n in ids for k, (c, each) in enumerate(((1, box), (8, box), (8, rle)))]  # fmt: skip
        contents[part] = {"images": images, "annotations": listed, "categories": categories}
    out, folder = results / "fuzz-dataset.json", root / "annotations"
    folder.mkdir(exist_ok=True)

    def target(random: Random) -> bool:
        for part, content in contents.items():
            (folder / f"instances_{part}.json").write_text(json.dumps(content))
        part = random.choice(("train", "val"))
        (folder / f"instances_{part}.json").write_bytes(as_json(contents[part], random))
        arguments = ["--config", '{"kind": "folder"}', "--root", str(root), "--out", str(out)]
        out.unlink(missing_ok=True)
        if not outcome(lambda: dataset.main(arguments)):
            return False
        usable(folder)
        for setting in ("nonvoc2voc", "masks2boxes"):
            given = ["--dataset", str(out), "--setting", setting, "--out", str(results / "fuzz-split")]
            if outcome(lambda given=given: splits.main(given)):
                no_novel_mask(results / "fuzz-split")
        nothing_escaped()
        return True

    return target


def usable(folder: Path) -> None:
    """What was taken for whole is: pycocotools reads every mask, boxes are finite, references hold."""
    for part in ("train", "val"):
        with contextlib.redirect_stdout(None):
            coco = COCO(str(folder / f"instances_{part}.json"))
        for annotation in coco.anns.values():
            if annotation["image_id"] not in coco.imgs or annotation["category_id"] not in coco.cats:
                raise Wrong(f"taken with a reference to nothing: {annotation}")
            if not all(math.isfinite(v) and v >= -1e12 for v in annotation["bbox"]) or min(annotation["bbox"][2:]) < 0:
                raise Wrong(f"taken with the box {annotation['bbox']}")
            if annotation.get("segmentation"):
                coco.annToMask(annotation)


def no_novel_mask(folder: Path) -> None:
    """Novel categories have boxes only."""
    split = json.loads((folder / "split.json").read_text())
    content = json.loads((folder / "instances_train.json").read_text())
    if set(split["base"]) & set(split["novel"]):
        raise Wrong(f"base and novel overlap: {split}")
    for annotation in content["annotations"]:
        if annotation["category_id"] in split["novel"]:
            x, y, w, h = annotation["bbox"]
            corners = annotation["segmentation"]
            if not isinstance(corners, list) or len(corners) != 1 or len(corners[0]) != 8 or \
                    {*corners[0][::2]} != {x, x + w} or {*corners[0][1::2]} != {y, y + h}:  # fmt: skip
                raise Wrong(f"a novel mask is left: {annotation}")


def split_lists(results: Path) -> Target:
    """A list in configs/splits."""
    file, out = CONFIGS / "splits" / "fuzz.yaml", results / "fuzz-split"
    document = yaml.safe_load((CONFIGS / "splits" / "voc.yaml").read_text()) | {"name": "fuzz"}
    data = str(results / "micro" / "data" / "dataset.json")

    def target(random: Random) -> bool:
        file.write_bytes(as_yaml(document, random))
        setting = random.choice(("nonvoc2fuzz", "fuzz2nonvoc", "fuzz2fuzz"))
        taken = outcome(lambda: splits.main(["--dataset", data, "--setting", setting, "--out", str(out)]))
        if taken:
            no_novel_mask(out)
        file.unlink()
        nothing_escaped()
        return taken

    return target


# ---------------------------------------------------------------------------- configuration


def scales(results: Path) -> Target:
    """A file in configs/scales, to `plan`, which resolves every run of the table."""
    file = CONFIGS / "scales" / "fuzz.yaml"
    document = yaml.safe_load((CONFIGS / "scales" / "micro.yaml").read_text()) | {"name": "fuzz"}

    def target(random: Random) -> bool:
        file.write_bytes(as_yaml(document, random))
        given = ["scale=fuzz", f"results={results / 'fuzz'}"]
        taken = verb("plan", "faults", "--config", *given)
        file.unlink()
        nothing_escaped()
        return taken

    return target


def tables(results: Path) -> Target:
    """A file in configs/tables, to `tables` and `plan`."""
    file, made = CONFIGS / "tables" / "fuzz.yaml", results / "micro" / "tables"
    document = yaml.safe_load((CONFIGS / "tables" / "faults.yaml").read_text())
    document["rows"].append({"label": "<b>other</b>", "options": {"sigma": 0.5}, "config": {"model": {"neck": {}}}})

    def target(random: Random) -> bool:
        file.write_bytes(as_yaml(document, random))
        given = ("--scale", "micro", "--results", str(results))
        taken = verb("tables", "fuzz", *given)
        if taken:
            page = (made / "fuzz.html").read_text()
            if "<script>alert" in page or "<b>other" in page:
                raise Wrong("text of a table stands in its page unescaped")
            if "\\input{" in (made / "fuzz.tex").read_text():
                raise Wrong("text of a table is a command in TeX")
        planned = verb("plan", "fuzz", "--config", "scale=micro", f"results={results}")
        file.unlink()
        nothing_escaped()
        return taken and planned

    return target


def command_settings(results: Path) -> Target:
    """--settings and --run of a training, whose data is not there: never taken."""
    document = {
        "scale": "micro",
        "preset": "paper",
        "seeds": [0],
        "tables": ["faults"],
        "results": str(results / "nowhere"),
        "data_root": None,
        "gpus_per_run": 1,
        "images_per_gpu": None,
        "weights": {"r50": "r50.pth"},
    }

    def target(random: Random) -> bool:
        text = as_json(document, random).decode(errors="replace").replace("\x00", "?")
        run = random.choice((RUN, RUN, "../../escaped", random.choice([s for s in STRANGE if isinstance(s, str)])))
        if verb("train", "--run", run.replace("\x00", "?"), "--settings", text):
            raise Wrong(f"trained: {text}")
        nothing_escaped()
        return False

    return target


# ---------------------------------------------------------------------------- results


def metrics(results: Path) -> Target:
    """metrics.json, to `tables`: a number in a table is the number in a whole file, or there is none."""
    file = results / "micro" / "runs" / RUN / "seed0" / "metrics.json"
    whole = file.read_bytes()
    document = json.loads(whole)
    table = results / "micro" / "tables" / "faults.csv"

    def target(random: Random) -> bool:
        content = as_json(document, random)
        file.write_bytes(content)
        made = verb("tables", "faults", "--scale", "micro", "--results", str(results))
        planned = verb("plan", "faults", "--config", "scale=micro", f"results={results}")
        file.write_bytes(whole)
        if not made:
            raise Wrong("no table because of one damaged run")
        row = pd.read_csv(table).iloc[0]
        if row["status"] != "ok":
            if not pd.isna(row["AP"]):
                raise Wrong(f"{row['status']}, and a number: {row['AP']}")
            return False
        expected = json.loads(content)["segm"]["novel"]["AP"]
        if not (0 <= expected <= 1 and math.isclose(row["AP"], 100 * expected, abs_tol=1e-9)):
            raise Wrong(f"AP {row['AP']} of {expected}")
        return planned

    return target


def readings(results: Path) -> Target:
    """The files behind `compare` and `report`."""
    run = results / "micro" / "runs" / RUN / "seed0"
    other = results / "micro" / "runs" / "other" / "seed0"
    shutil.copytree(run, other)
    data = results / "micro" / "data" / "dataset.json"
    files = [run / "metrics.json", run / "detections.json.gz", run / "gt_box_iou.csv", run / "config.json", data,
             run / "train.json", run / "curves.jsonl"]  # fmt: skip
    whole = {file: file.read_bytes() for file in files}

    def target(random: Random) -> bool:
        file = random.choice(files)
        if file.suffix == ".json":
            file.write_bytes(as_json(json.loads(whole[file]), random))
        elif file.suffix == ".gz" and random.random() < 0.7:
            file.write_bytes(gzip.compress(as_json(json.loads(gzip.decompress(whole[file])), random)))
        else:
            file.write_bytes(cut_or_flipped(whole[file], random))
        compared = verb("compare", RUN, "other", "--scale", "micro", "--results", str(results), "--resamples", "100")
        reported = random.random() > 0.2 or verb("report", "--settings", json.dumps(
            {"scale": "micro", "tables": ["faults"], "results": str(results)}))  # fmt: skip
        file.write_bytes(whole[file])
        return compared and reported

    return target


def records(results: Path) -> Target:
    """What training, evaluation and `export` read of a run and its data."""
    from contrastmask.evaluation import evaluate
    from contrastmask.training import train

    train.start, evaluate.start = (lambda job: 0), (lambda job: {"run": "", "seed": 0, "segm": {"novel": {"AP": None}},
                                                                 "bbox": {"novel": {"AP": None}}})  # fmt: skip
    run, data = results / "micro" / "runs" / RUN / "seed0", results / "micro" / "data"
    files = [run / "train.json", run / "config.json", data / "dataset.json", data / "nonvoc2voc" / "split.json"]
    whole = {file: file.read_bytes() for file in files}
    out, settings = (
        results / "fuzz-export",
        json.dumps({"scale": "micro", "tables": ["faults"], "results": str(results)}),
    )

    def target(random: Random) -> bool:
        file = random.choice(files)
        file.write_bytes(as_json(json.loads(whole[file]), random))
        taken = verb("export", "--run", RUN, "--scale", "micro", "--results", str(results), "--out", str(out))
        if taken and file.name in ("train.json", "config.json"):
            same_but_free(json.loads(file.read_bytes()), json.loads(whole[file]), file.name)
        shutil.rmtree(out, ignore_errors=True)
        for name in ("train", "evaluate"):
            taken &= verb(name, "--run", RUN, "--settings", settings)
        file.write_bytes(whole[file])
        nothing_escaped()
        return taken

    return target


def same_but_free(given: dict[str, Any], whole: dict[str, Any], name: str) -> None:
    """A configuration is exported as it was trained with, to the digit."""
    if name == "config.json" and json.dumps(given, sort_keys=True) != json.dumps(whole, sort_keys=True):
        raise Wrong("another configuration was exported than the one trained with")


def tracking_files(results: Path) -> Target:
    """The curves and the note of where they were sent, to `sync` and to a session that goes on with them."""
    folder = results / "curves"
    run = folder / "micro" / "runs" / "r" / "seed0"
    shutil.copytree(results / "micro" / "runs" / RUN / "seed0", run)
    shutil.copy(results / "mlflow.db", folder / "mlflow.db")
    curves, note = run / "curves.jsonl", run / "work" / "mlflow.json"
    lines, sent = curves.read_text().splitlines(), json.loads(note.read_text())
    whole = [json.loads(line) for line in lines]

    def target(random: Random) -> bool:
        kept = list(lines)
        for _ in range(random.choice((1, 2, 5))):
            place = random.randrange(len(kept))
            kept[place] = as_json(whole[place], random).decode(errors="replace")
        curves.write_bytes(cut_or_flipped("\n".join(kept).encode(errors="replace"), random))
        note.write_bytes(as_json(sent, random))
        taken = outcome(lambda: tracking.main(["sync", "--results", str(folder)]))
        again = Curves(run)
        with again.session("train", 3):
            again.metrics({"train/loss": 1.0}, 4)
        if Curves(run).status != "FINISHED":
            raise Wrong("a session on damaged curves does not end as it ended")
        return taken

    return target


# ---------------------------------------------------------------------------- checkpoints


class Evil:
    """Runs a command when it is unpickled by who trusts pickles."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch escaped",)


def checkpoints(results: Path) -> Target:
    """Checkpoints with a whole one before them, and weights from elsewhere."""
    folder = results / "fuzz-checkpoints"
    folder.mkdir()
    states = [
        {"identity": "me", "iteration": n, "code": "c", "model": {"w": torch.full((64,), float(n))}} for n in (1, 2)
    ]
    files = [checkpoint.save(folder, state, state["iteration"]) for state in states]
    whole = [file.read_bytes() for file in files]
    weights = {"w": torch.arange(32.0), "b": torch.zeros(3)}
    packed = io.BytesIO()
    torch.save({"state_dict": weights}, packed)
    foreign = {".pth": packed.getvalue(), ".safetensors": save(weights)}

    def target(random: Random) -> bool:
        if random.random() < 0.5:
            suffix = random.choice(list(foreign))
            return elsewhere(folder / f"foreign{suffix}", cut_or_flipped(foreign[suffix], random), random)
        for left in folder.glob("*.corrupt*"):
            left.unlink()
        files[0].write_bytes(whole[0])
        content = cut_or_flipped(whole[1], random) if random.random() < 0.7 else sealed(random)
        files[1].write_bytes(content)
        try:
            found = checkpoint.latest(folder, identity="me")
        except Failed as error:
            if not str(error):
                raise Wrong("refused without a word") from error
            nothing_escaped()
            return False
        nothing_escaped()
        if found is None or not torch.equal(found[1]["model"]["w"], states[found[0] - 1]["model"]["w"]):
            raise Wrong(f"another state was taken: {found}")
        return found[0] == 2

    return target


def sealed(random: Random) -> bytes:
    """A file with a right checksum and wrong content: of another program, or of somebody with bad intentions."""
    strange = random.choice((Evil(), [], {}, None, 1, {"identity": 3}, torch.zeros(2), {"state_dict": Evil()}))
    packed = io.BytesIO()
    if random.random() < 0.5:
        torch.save(strange, packed)
    else:
        pickle.dump(strange, packed)
    content = packed.getvalue()
    return content + hashlib.sha256(content).digest() + b"CMASKv1\n"


def elsewhere(file: Path, content: bytes, random: Random) -> bool:
    """Weights that somebody sent, to `predict --model`."""
    file.write_bytes(sealed(random) if random.random() < 0.2 else content)
    try:
        found = read_weights(file)
    except ConfigError:
        nothing_escaped()
        return False
    nothing_escaped()
    if not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise Wrong(f"taken for weights: {copy.copy(found)}")
    return True


TARGETS: dict[str, Callable[[Path], Target]] = {
    "annotations": annotations,
    "split lists": split_lists,
    "scales": scales,
    "tables": tables,
    "settings": command_settings,
    "metrics": metrics,
    "readings": readings,
    "records": records,
    "tracking files": tracking_files,
    "checkpoints": checkpoints,
}
