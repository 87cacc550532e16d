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
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import torch
import yaml
from evil import Evil
from faults.damage import STRANGE, as_json, as_yaml, cut_or_flipped
from faults.fuzz import Target, Wrong, verb
from faults.harness import RUN
from PIL import Image
from pycocotools.coco import COCO
from safetensors.torch import save

from contrastmask.config import runfile
from contrastmask.data.dataset import read_dataset
from contrastmask.errors import ConfigError, Failed
from contrastmask.paths import CONFIGS
from contrastmask.tracking.curves import Curves
from contrastmask.training import checkpoint
from contrastmask.training.weights import read as read_weights


def nothing_escaped() -> None:
    """Nothing was made where a name in a file pointed to."""
    for path in (Path("escaped"), Path("/tmp/escaped"), Path("../escaped"), Path("../../escaped")):
        if path.exists():
            raise Wrong(f"{path.resolve()} was made")


def one_bad_file(files: Iterable[Path], feed: Callable[[Path, Random], bool]) -> Target:
    """One of these whole files is spoiled, `feed` says whether it was taken, and the file is whole again."""
    whole = {file: file.read_bytes() for file in files}

    def target(random: Random) -> bool:
        file = random.choice(list(whole))
        content = whole[file]
        if file.suffix == ".json":
            file.write_bytes(as_json(json.loads(content), random))
        elif file.suffix == ".yaml":
            file.write_bytes(as_yaml(yaml.safe_load(content), random))
        elif file.suffix == ".gz" and random.random() < 0.7:
            file.write_bytes(gzip.compress(as_json(json.loads(gzip.decompress(content)), random)))
        else:
            file.write_bytes(cut_or_flipped(content, random))
        try:
            return feed(file, random)
        finally:
            file.write_bytes(content)
            nothing_escaped()

    return target


def new_config(folder: str, like: str, **changes: Any) -> Path:
    """A file `fuzz` in a folder of configs/, which says what another there does."""
    document = yaml.safe_load((CONFIGS / folder / f"{like}.yaml").read_text()) | changes
    file = CONFIGS / folder / "fuzz.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def run_of(results: Path) -> Path:
    return results / "micro" / "runs" / RUN / "seed0"


# ---------------------------------------------------------------------------- data


def annotations(results: Path) -> Target:
    """A COCO-format folder of three images, one of its two files bad."""
    root, out, split = results / "fuzz-data", results / "fuzz-dataset.json", results / "fuzz-split"
    box = {"bbox": [2, 2, 8, 6], "area": 48, "iscrowd": 0, "segmentation": [[2, 2, 10, 2, 10, 8, 2, 8]]}
    runs = {"size": [24, 32], "counts": [0, 4, 20, 4, 740]}
    rle = {"bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 1, "segmentation": runs}
    categories = [{"id": 1, "name": "person"}, {"id": 8, "name": "truck"}]
    files = []
    (root / "annotations").mkdir(parents=True)
    for part, ids in (("train", (1, 2)), ("val", (3,))):
        (root / part).mkdir()
        for number in ids:
            Image.new("RGB", (32, 24), (number * 40, 9, 9)).save(root / part / f"{number}.png")
        images = [{"id": n, "file_name": f"{n}.png", "width": 32, "height": 24} for n in ids]
        listed = [{"id": 10 * n + k, "image_id": n, "category_id": c, **each}
                  for n in ids for k, (c, each) in enumerate(((1, box), (8, box), (8, rle)))]  # fmt: skip
        files.append(root / "annotations" / f"instances_{part}.json")
        files[-1].write_text(json.dumps({"images": images, "annotations": listed, "categories": categories}))

    def feed(file: Path, random: Random) -> bool:
        out.unlink(missing_ok=True)
        if not verb("prepare", root, "--data", '{"kind": "folder"}', "--out", out):
            return False
        described = read_dataset(out)
        for part in ("train", "val"):  # what everything after it reads
            usable(Path(described[part]["annotations"]))
        for setting in ("nonvoc2voc", "masks2boxes"):
            if verb("split", setting, "--dataset", out, "--out", split):
                no_novel_mask(split)
        return True

    return one_bad_file(files, feed)


def usable(file: Path) -> None:
    """What was taken for whole is: pycocotools reads every mask, boxes are finite, references hold."""
    with contextlib.redirect_stdout(None):
        coco = COCO(str(file))
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
    if set(split["base"]) & set(split["novel"]):
        raise Wrong(f"base and novel overlap: {split}")
    for annotation in json.loads((folder / "instances_train.json").read_text())["annotations"]:
        if annotation["category_id"] in split["novel"]:
            x, y, w, h = annotation["bbox"]
            if annotation["segmentation"] != [[x, y, x + w, y, x + w, y + h, x, y + h]]:
                raise Wrong(f"a novel mask is left: {annotation}")


def split_lists(results: Path) -> Target:
    """A list in configs/splits."""
    out, data = results / "fuzz-split", results / "micro" / "data" / "dataset.json"

    def feed(file: Path, random: Random) -> bool:
        setting = random.choice(("nonvoc2fuzz", "fuzz2nonvoc", "fuzz2fuzz"))
        taken = verb("split", setting, "--dataset", data, "--out", out)
        if taken:
            no_novel_mask(out)
        return taken

    return one_bad_file([new_config("splits", "voc", name="fuzz")], feed)


# ---------------------------------------------------------------------------- configuration


def scales(results: Path) -> Target:
    """A file in configs/scales, to `plan`, which resolves every run of the table."""
    given = ("--config", "scale=fuzz", f"results={results / 'fuzz'}")
    return one_bad_file([new_config("scales", "micro", name="fuzz")], lambda *_: verb("plan", "faults", *given))


def tables(results: Path) -> Target:
    """A file in configs/tables, to `tables` and `plan`."""
    made = results / "micro" / "tables"
    row = {"label": "<b>other</b>", "options": {"sigma": 0.5}, "config": {"model": {"neck": {}}}}

    def feed(file: Path, random: Random) -> bool:
        taken = verb("tables", "fuzz", "--scale", "micro", "--results", results)
        if taken:
            page = (made / "fuzz.html").read_text()
            if "<script>alert" in page or "<b>other" in page:
                raise Wrong("text of a table stands in its page unescaped")
            if "\\input{" in (made / "fuzz.tex").read_text():
                raise Wrong("text of a table is a command in TeX")
        return verb("plan", "fuzz", "--config", "scale=micro", f"results={results}") and taken

    return one_bad_file([new_config("tables", "faults", rows=[{"label": "the run"}, row])], feed)


def command_settings(results: Path) -> Target:
    """--settings and the run's name, to `configure`: what it writes is whole."""
    document = {
        "scale": "micro",
        "preset": "paper",
        "seeds": [0],
        "tables": ["faults"],
        "data_root": None,
        "gpus_per_run": 1,
        "images_per_gpu": None,
        "weights": {"r50": "r50.pth"},
    }
    names = ["../../escaped", *(s for s in STRANGE if isinstance(s, str) and s and s[0] != "-")]
    out = results / "configured"

    def target(random: Random) -> bool:
        text = as_json(document, random).decode(errors="replace").replace("\x00", "?")
        run = RUN if random.random() < 0.8 else random.choice(names).replace("\x00", "?")
        taken = verb("configure", run, "--settings", text, "--config", f"results={out}")
        for file in out.rglob("config.json"):
            runfile.read(file.parent)
        shutil.rmtree(out, ignore_errors=True)
        nothing_escaped()
        return taken

    return target


# ---------------------------------------------------------------------------- results


def metrics(results: Path) -> Target:
    """metrics.json, to `tables`: a number in a table is the number in a whole file, or there is none."""

    def feed(file: Path, random: Random) -> bool:
        made = verb("tables", "faults", "--scale", "micro", "--results", results)
        planned = verb("plan", "faults", "--config", "scale=micro", f"results={results}")
        if not made:
            raise Wrong("no table because of one damaged run")
        row = pd.read_csv(results / "micro" / "tables" / "faults.csv").iloc[0]
        if row["status"] != "ok":
            if not pd.isna(row["AP"]):
                raise Wrong(f"{row['status']}, and a number: {row['AP']}")
            return False
        expected = json.loads(file.read_bytes())["segm"]["novel"]["AP"]
        if not (0 <= expected <= 1 and math.isclose(row["AP"], 100 * expected, abs_tol=1e-9)):
            raise Wrong(f"AP {row['AP']} of {expected}")
        return planned

    return one_bad_file([run_of(results) / "metrics.json"], feed)


def readings(results: Path) -> Target:
    """The files behind `compare` and `report`."""
    run = run_of(results)
    shutil.copytree(run, results / "micro" / "runs" / "other" / "seed0")
    names = ("metrics.json", "detections.json.gz", "gt_box_iou.csv", "config.json", "train.json", "curves.jsonl")
    settings = json.dumps({"scale": "micro", "tables": ["faults"], "results": str(results)})

    def feed(file: Path, random: Random) -> bool:
        compared = verb("compare", RUN, "other", "--scale", "micro", "--results", results, "--resamples", "100")
        return (random.random() > 0.2 or verb("report", "--settings", settings)) and compared

    return one_bad_file([*(run / name for name in names), results / "micro" / "data" / "dataset.json"], feed)


def records(results: Path) -> Target:
    """What training, evaluation and `export` read of a run and its data."""
    from contrastmask.evaluation import evaluate
    from contrastmask.training import train

    nothing = {"run": "", "seed": 0, "segm": {"novel": {"AP": None}}, "bbox": {"novel": {"AP": None}}}
    train.start, evaluate.start = (lambda run: 0), (lambda run, processes: nothing)
    run, data, out = run_of(results), results / "micro" / "data", results / "fuzz-export"
    configuration = json.loads((run / "config.json").read_text())["config"]

    def feed(file: Path, random: Random) -> bool:
        taken = verb("export", "--run", RUN, "--scale", "micro", "--results", results, "--out", out)
        if taken and file.name == "config.json" and json.loads(file.read_bytes())["config"] != configuration:
            raise Wrong("another configuration was exported than the one trained with")
        shutil.rmtree(out, ignore_errors=True)
        for name in ("train", "evaluate"):
            taken &= verb(name, run)
        return taken

    described = (data / "dataset.json", data / "nonvoc2voc" / "split.json")
    return one_bad_file([run / "train.json", run / "config.json", *described], feed)


def tracking_files(results: Path) -> Target:
    """The curves and the note of where they were sent, to `sync` and to a session that goes on with them."""
    folder = results / "curves"
    run = folder / "micro" / "runs" / "r" / "seed0"
    shutil.copytree(run_of(results), run)
    shutil.copy(results / "mlflow.db", folder / "mlflow.db")
    curves, note = run / "curves.jsonl", run / "work" / "mlflow.json"
    lines, sent = curves.read_text().splitlines(), json.loads(note.read_text())

    def target(random: Random) -> bool:
        kept = list(lines)
        for _ in range(random.choice((1, 2, 5))):
            place = random.randrange(len(kept))
            kept[place] = as_json(json.loads(lines[place]), random).decode(errors="replace")
        curves.write_bytes(cut_or_flipped("\n".join(kept).encode(errors="replace"), random))
        note.write_bytes(as_json(sent, random))
        taken = verb("sync", "--results", folder)
        again = Curves(run)
        with again.session("train", 3):
            again.metrics({"train/loss": 1.0}, 4)
        if Curves(run).status != "FINISHED":
            raise Wrong("a session on damaged curves does not end as it ended")
        return taken

    return target


# ---------------------------------------------------------------------------- checkpoints


def checkpoints(results: Path) -> Target:
    """Checkpoints with a whole one before them, and weights from elsewhere."""
    folder = results / "fuzz-checkpoints"
    folder.mkdir()
    states = [{"identity": "me", "iteration": n, "code": "c", "model": {"w": torch.full((64,), float(n))}}
              for n in (1, 2)]  # fmt: skip
    files = [checkpoint.save(folder, state, state["iteration"]) for state in states]
    whole = [file.read_bytes() for file in files]
    weights, packed = {"w": torch.arange(32.0), "b": torch.zeros(3)}, io.BytesIO()
    torch.save({"state_dict": weights}, packed)
    foreign = {".pth": packed.getvalue(), ".safetensors": save(weights)}

    def target(random: Random) -> bool:
        try:
            if random.random() < 0.5:
                suffix = random.choice(list(foreign))
                return elsewhere(folder / f"foreign{suffix}", cut_or_flipped(foreign[suffix], random), random)
            return resumed(cut_or_flipped(whole[1], random) if random.random() < 0.7 else sealed(random))
        finally:
            nothing_escaped()

    def resumed(content: bytes) -> bool:
        for left in folder.glob("*.corrupt*"):
            left.unlink()
        files[0].write_bytes(whole[0])
        files[1].write_bytes(content)
        try:
            found = checkpoint.latest(folder, identity="me")
        except Failed as error:
            if not str(error):
                raise Wrong("refused without a word") from error
            return False
        if found is None or not torch.equal(found[1]["model"]["w"], states[found[0] - 1]["model"]["w"]):
            raise Wrong(f"another state was taken: {found}")
        return found[0] == 2

    return target


def sealed(random: Random) -> bytes:
    """A file with a right checksum and wrong content: of another program, or of somebody with bad intentions."""
    evil = Evil("escaped")
    strange = random.choice((evil, [], {}, None, 1, {"identity": 3}, torch.zeros(2), {"state_dict": evil}))
    packed = io.BytesIO()
    torch.save(strange, packed) if random.random() < 0.5 else pickle.dump(strange, packed)
    content = packed.getvalue()
    return content + hashlib.sha256(content).digest() + b"CMASKv1\n"


def elsewhere(file: Path, content: bytes, random: Random) -> bool:
    """Weights that somebody sent, to `predict --model`."""
    file.write_bytes(sealed(random) if random.random() < 0.2 else content)
    try:
        found = read_weights(file, str(file))
    except ConfigError:
        return False
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
