"""`prepare`: find or make a data set, verify all of it once, and record it as `dataset.json`.

Beside dataset.json lie dataset-train.json and dataset-val.json: the verified annotations as training and evaluation
read them (normalise.py). Nothing after `prepare` reads a person's annotation files again.

The digest is sha256, cut to 32 hex digits (what MLflow takes), over the two annotation files' sha256 and the
sorted (part, file name, byte size) of all images. Paths do not enter: a moved copy is the same data.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

from contrastmask.data import amend, normalise, verify
from contrastmask.data.layouts import FOLDER_KEYS, Part, find_parts
from contrastmask.data.problems import Problems
from contrastmask.errors import DataError
from contrastmask.runtime.files import is_newest, parse_person, read_coco_bytes, read_record, write_json
from contrastmask.runtime.terminal import say

PATHS = ("annotations", "images")  # of a part: relative to dataset.json where they lie beside or below it
PARTS = ("train", "val")

SYNTHETIC_KEYS = ("train_images", "val_images", "image_size", "seed", "categories")
KEYS = {"synthetic": SYNTHETIC_KEYS, "clothing": (), "coco": (), "folder": (*FOLDER_KEYS, "crowds", "boxes_only")}


def prepare(config: dict[str, Any], root: Path, out: Path, workers: int = 1) -> dict[str, Any]:
    """Verify the data set under `root` and write `out` (docs/design.md: dataset.json), which is returned.

    `config["kind"]`:
      synthetic  generated under `root` unless complete there; `train_images`, `val_images`, `image_size`,
                 `seed`, and optionally `categories` (80), as in `synthetic.generate`; `workers` processes
      clothing   a clone of Clothing Co-Parsing, converted beside `out` unless complete there (clothing.py)
      coco       train2017/, val2017/, annotations/instances_{train,val}2017.json
      folder     any COCO-format folder: coco's layout, or train/, val/, annotations/instances_{train,val}.json, or
                 Roboflow's, or all four of train_images_dir, train_annotations, val_images_dir, val_annotations,
                 relative to `root`; `crowds: objects` takes annotations with iscrowd 1 for single objects,
                 `boxes_only` lists categories whose masks are left out, such as boxes drawn as polygons
    Of kind folder, categories may lack masks, also in val: what cannot be measured there is a warning.
    `config["name"]` is optional; by default the kind, for a folder the name of `root`.
    Warnings (data that training leaves out) go to stderr.

    Raises:
        DataError: the configuration or the data is unusable; every problem with its fix.
    """
    kind = _check_config(config)
    root = Path(os.path.abspath(root))
    if kind == "synthetic":
        _make_synthetic(config, root, workers)
    elif kind == "clothing":
        root = _convert_clothing(root, out.absolute().parent / "clothing", workers)
    parts = find_parts(config, root)
    title = f"{root}: the data is not usable"
    if kind in ("synthetic", "clothing"):
        title += " (made here: remove the folder, and it is made again)"
    found = Problems()
    digest = hashlib.sha256(_said(config).encode())
    train, val = (_read(name, part, config, digest, found) for name, part in zip(PARTS, parts, strict=True))
    if train and val:
        verify.check_parts(train, val, (parts[0].annotations, parts[1].annotations), found)
        verify.check_named(train, config.get("boxes_only", ()), found)
        verify.check_shared(train, val, (parts[0].images, parts[1].images), found)
    found.check(title)
    assert train and val, "a part that is no COCO file is a problem"
    for text, count in sorted(found.warnings.items()):
        say(f"warning: {count} {text}", error=True)
    categories = normalise.our_categories(train["categories"])
    name = config.get("name", root.name if kind == "folder" else kind)
    described = {
        part: _write(out.with_name(f"{out.stem}-{part}.json"), coco, source, categories)
        for part, coco, source in zip(PARTS, (train, val), parts, strict=True)
    }
    facts = {"name": name, "kind": kind, "digest": digest.hexdigest()[:32], "config": config}
    write_json(out, facts | described | {"categories": categories})
    return read_dataset(out)


def _said(config: dict[str, Any]) -> str:
    """What a person says of the data beside where it lies; it makes other data of the same files."""
    said = "crowds are objects\n" if config.get("crowds") == "objects" else ""
    return said + "".join(f"boxes only: {name}\n" for name in sorted(config.get("boxes_only", ())))


def _read(name: str, part: Part, config: dict[str, Any], digest: Any, found: Problems) -> dict | None:
    """The content of a part's annotation file, checked and amended; None if it is no COCO file."""
    raw = read_coco_bytes(part.annotations)
    digest.update(f"{name} {hashlib.sha256(raw).hexdigest()}\n".encode())
    coco = parse_person(raw, part.annotations, found.warn)
    del raw  # 450 MB for COCO
    amend.retype(coco, found)
    if not verify.check_shape(coco, part.annotations, found):
        return None
    measured, own = name == "val", config["kind"] == "folder"
    crowds, boxes_only = config.get("crowds") == "objects", config.get("boxes_only", ())
    amend.amend(coco, part.images, crowds, boxes_only, found)
    sizes = verify.check_images(coco, part.images, part.annotations, found)
    verify.check_lists(coco, part.annotations, found)
    verify.check_annotations(coco, part.annotations, found, need_masks=measured and not own, measured=measured)
    for file_name, n_bytes in sorted(sizes.items()):
        digest.update(f"{name}\t{file_name}\t{n_bytes}\n".encode())
    return coco


def _write(path: Path, coco: dict, source: Part, categories: list[dict]) -> dict[str, Any]:
    """Write a part's annotations as all others read them; returns its description."""
    folder = path.absolute().parent
    sha256 = normalise.write_ours(path, coco, categories)
    return {
        "annotations": path.name,
        "images": _from(folder, source.images),
        "source": _from(folder, source.annotations),
        "n_images": len(coco["images"]),
        "n_annotations": len(coco["annotations"]),
        "sha256": sha256,
    }


def _from(folder: Path, path: Path) -> str:
    """`path` relative to `folder` if it lies in it: a results folder that makes its own data can be moved."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def read_dataset(path: Path) -> dict[str, Any]:
    """Read a `dataset.json`, with absolute paths.

    Raises:
        DataError: it is missing, damaged, or not one that `prepare` wrote.
    """
    dataset = read_record(path, {"digest": str, "train": dict, "val": dict, "categories": list})
    wrong = [part for part in PARTS if not all(isinstance(dataset[part].get(key), str) for key in PATHS)]
    lists = {"images": [], "annotations": [], "categories": dataset["categories"]}
    if wrong or not verify.check_shape(lists, path, Problems()):
        raise DataError(f"{path}: damaged at {', '.join(wrong) or 'categories'}; delete it, and it is made again")
    for part in (dataset["train"], dataset["val"]):
        part |= {key: str(path.absolute().parent / part[key]) for key in PATHS}
    return dataset


def is_current(out: Path, config: dict[str, Any], root: Path) -> bool:
    """Whether `out` is what `prepare` would make: of this `config`, and of annotation files that are unedited since.

    Raises:
        DataError: the data set is not there, or `out` is damaged.
    """
    if not out.exists():
        return False
    dataset, folder = read_dataset(out), out.absolute().parent
    if dataset.get("config", config) != config:  # those of before it was recorded lack it
        return False
    if config["kind"] in ("synthetic", "clothing"):
        return True
    described = [folder / dataset[part].get("source", dataset[part]["annotations"]) for part in PARTS]
    there = [part.annotations for part in find_parts(config, Path(os.path.abspath(root)))]
    return described == there and is_newest(out, there)


def _check_config(config: dict[str, Any]) -> str:
    """The kind, after refusing unknown keys."""
    if not isinstance(config, dict) or config.get("kind") not in KEYS:
        given = config.get("kind") if isinstance(config, dict) else config
        raise DataError(f"data: kind must be one of {', '.join(KEYS)}, not {given!r}")
    kind = config["kind"]
    if config.get("crowds", "objects") not in ("objects", "ignored"):
        raise DataError(f"data: crowds must be objects or ignored, not {config['crowds']!r}")
    names = config.get("boxes_only", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"data: boxes_only must be a list of category names, not {names!r}")
    unknown = set(config) - {"kind", "name", *KEYS[kind]}
    if unknown:
        allowed = ", ".join(("name", *KEYS[kind]))
        raise DataError(f"data: unknown {', '.join(sorted(unknown))} for kind {kind}; it takes {allowed}")
    return kind


def _make_synthetic(config: dict[str, Any], root: Path, workers: int) -> None:
    # Imported here: the other kinds need neither OpenCV nor NumPy.
    from contrastmask.data import synthetic

    given = {key: config[key] for key in SYNTHETIC_KEYS if key in config}
    try:
        parameters = synthetic.Parameters(**given)
    except (TypeError, ValueError) as error:
        raise DataError(f"data: {error}. Kind synthetic takes {', '.join(SYNTHETIC_KEYS)}.") from error
    if not synthetic.is_complete(root, parameters):
        synthetic.generate(root, **vars(parameters), workers=workers)


def _convert_clothing(clone: Path, out: Path, workers: int) -> Path:
    from contrastmask.data import clothing

    if not clothing.is_complete(out):
        clothing.convert(clone, out, workers)
    return out
