"""`write_split`: per setting, training annotations from which every novel mask is gone.

A split list is a file `configs/splits/<name>.yaml`: workflow/schemas/split.schema.yaml.

A setting is `<base>2<novel>`, two such names around a 2: base categories keep their masks; of the novel ones
only boxes are left. mmdet turns a box without a valid segmentation into one to ignore, so a novel annotation
keeps a segmentation: the rectangle of its box, made from the box alone.
"""

import difflib
import hashlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contrastmask.config.rows import SPLITS, parse_setting
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.data.categories import Count, Counts, coco_categories, count_masks, say_crowds, say_split
from contrastmask.data.dataset import read_dataset
from contrastmask.data.masks import box_polygon
from contrastmask.errors import ConfigError, DataError
from contrastmask.runtime.files import (
    check_unchanged,
    parse_coco,
    raise_problems,
    read_coco_bytes,
    read_record,
    write_coco,
    write_json,
)
from contrastmask.runtime.terminal import say


def read_list(path: Path) -> dict[str, Any]:
    """A split list as written: its name, and one of the three keys.

    Raises:
        ConfigError: it is not a valid list; the message names the key and the fix.
    """
    content = read_yaml(path, "split")
    if content["name"] != path.stem:
        raise ConfigError(f"{path}: name must be {path.stem!r}, as the file, not {content['name']!r}")
    return content


def resolve(
    setting: str, categories: list[dict], splits_dir: Path = SPLITS, counts: Counts | None = None
) -> tuple[list[int], list[int], list[str]]:
    """Base ids, novel ids (in the order of the data set's `categories`), and warnings.

    `counts`: of the training annotations; only inferred lists look at them.

    Raises:
        DataError: a list names an unknown category or one twice; the lists overlap, leave out a category of
            the data set, or hold none of them; a list is inferred and a category has masks on some annotations only.
    """
    lists = [read_list(splits_dir / f"{name}.yaml") for name in parse_setting(setting, splits_dir)]
    base_name, novel_name = (split["name"] for split in lists)
    problems: list[str] = []
    warnings: list[str] = []
    counts = counts or {}
    if any("inferred" in split for split in lists):
        problems += _undecided(categories, counts)
    found = [_look_up(split, categories, splits_dir, counts, problems, warnings) for split in lists]
    base, novel = found
    if base is None and novel is None:
        problems.append(f"both {base_name} and {novel_name} say remaining: true; one must list its categories")
    raise_problems(f"setting {setting}", problems)
    ids = [category["id"] for category in categories]
    base = set(ids) - (novel or set()) if base is None else base
    novel = set(ids) - base if novel is None else novel
    names = {category["id"]: category["name"] for category in categories}
    if base & novel:
        both = _spell(base & novel, names)
        problems.append(f"in both {base_name} and {novel_name}: {both}; keep each in one")
    if set(ids) - base - novel:
        left = _spell(set(ids) - base - novel, names)
        problems.append(f"in neither {base_name} nor {novel_name}: {left}; add each to one of them")
    for split, members in zip(lists, (base, novel), strict=True):
        if not members or ("inferred" in split and not members & set(counts)):
            problems.append(_say_empty(split, counts))
    raise_problems(f"setting {setting} ({splits_dir})", list(dict.fromkeys(problems)))
    return [i for i in ids if i in base], [i for i in ids if i in novel], warnings


def _say_empty(split: dict[str, Any], counts: Counts) -> str:
    if split.get("inferred") == "masks" or ("inferred" in split and not counts):
        return "no category has masks in the training annotations, so there is nothing to learn masks from; add some"
    if split.get("inferred") == "boxes":
        return (
            "every category of the training annotations has masks, so none is novel; name the novel ones in a list "
            "(docs/own-data.md)"
        )
    return f"none of the data set's categories is in {split['name']}; list at least one"


def _undecided(categories: list[dict], counts: Counts) -> list[str]:
    """Categories that are neither base nor novel by their masks: some objects have one, some not, or crowds alone."""
    mixed = [(c["name"], c["id"], counts[c["id"]]) for c in categories if counts.get(c["id"], Count()).mixed]
    problems = [
        f"category {name} ({number}) has masks on {count.masks} of its {count.annotations} training annotations; "
        f"to make it base, add the others' masks; to make it novel: `contrastmask init FOLDER --boxes-only "
        f"{shlex.quote(name)}`, or name it in a split list (docs/own-data.md)"
        for name, number, count in mixed
    ]
    crowds = say_crowds(categories, counts)
    return [*problems, f"{crowds}; or name them in a split list (docs/own-data.md)"] if crowds else problems


def _spell(ids: set[int], names: dict[int, str]) -> str:
    return ", ".join(f"{names[i]} ({i})" for i in sorted(ids))


def _look_up(
    split: dict[str, Any],
    categories: list[dict],
    splits_dir: Path,
    counts: Counts,
    problems: list[str],
    warnings: list[str],
) -> set[int] | None:
    """The ids that a list names; None for `remaining`.

    A COCO category that the data set lacks is a warning, so that COCO's lists serve subsets of it; any other
    unknown entry is a problem.
    """
    if "inferred" in split:
        with_masks = {c["id"] for c in categories if counts.get(c["id"], Count()).masks}
        return with_masks if split["inferred"] == "masks" else {c["id"] for c in categories} - with_masks
    if "categories" not in split:
        return None
    path = splits_dir / f"{split['name']}.yaml"
    known: dict[str | int, int] = {c["name"]: c["id"] for c in categories} | {c["id"]: c["id"] for c in categories}
    of_coco = {key for c in coco_categories() for key in (c.id, c.name)}
    ids: list[int] = []
    absent = []
    for entry in split["categories"]:
        if entry in known:
            ids.append(known[entry])
        elif entry in of_coco:
            absent.append(str(entry))
        else:
            close = difflib.get_close_matches(str(entry), [c["name"] for c in categories], n=1)
            hint = f"did you mean {close[0]!r}?" if close else "use the names in its annotation file"
            problems.append(f"{path}: the data set has no category {entry!r}; {hint}")
    for twice in sorted({i for i in ids if ids.count(i) > 1}):
        name = next(c["name"] for c in categories if c["id"] == twice)
        problems.append(f"{path}: lists {name!r} ({twice}) more than once; keep one")
    if absent:
        some = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        warnings.append(f"{path}: {len(absent)} COCO categories are not in the data set: {some}")
    return set(ids)


def decide(
    setting: str, dataset: dict[str, Any], coco: dict[str, Any], splits_dir: Path, show: bool
) -> tuple[list[int], list[int]]:
    """Base and novel ids of a setting, for the training annotations `coco`; printed if `show` or a list is inferred.

    Raises:
        DataError: the setting or a list is unusable (see `resolve`), or a base annotation has no segmentation.
    """
    counts = count_masks(coco["annotations"])
    base, novel, warnings = resolve(setting, dataset["categories"], splits_dir, counts)
    for warning in warnings:
        say(f"warning: {warning}", error=True)
    inferred = any("inferred" in read_list(splits_dir / f"{name}.yaml") for name in parse_setting(setting, splits_dir))
    if not inferred and (crowds := say_crowds(dataset["categories"], counts)):
        say(f"warning: {crowds}", error=True)
    if show or inferred:
        names = {category["id"]: category["name"] for category in dataset["categories"]}
        say(f"Setting {setting}, training annotations {_source(dataset)}:")
        say(say_split(base, novel, names, counts))
    if inferred:
        print("  Inferred from which categories have masks. To decide otherwise: docs/own-data.md")
    _check_masks(counts, base, dataset)
    return base, novel


def write_split(
    dataset_json: Path, setting: str, out_dir: Path, splits_dir: Path = SPLITS, show: bool = False
) -> dict[str, Any]:
    """Write `out_dir`/instances_train.json and split.json (docs/design.md); returns the latter.

    Base annotations are copied whole. Of a novel one, crowds too, there remain id, image, category, box, area
    and flags, and its box as segmentation. Images and categories keep only what training reads, so that no
    mask can travel in a key of its own.

    The digest is sha256 (32 hex digits) over the data set's digest, the setting and both lists' ids.
    A split with an inferred list is printed, for a person to confirm, as is any if `show`.

    Raises:
        DataError: the setting or a list is unusable (see `resolve`), the annotations changed since they were
            verified, a base annotation has no segmentation, or no base object can be learned from.
    """
    dataset = read_dataset(dataset_json)
    coco = read_train(dataset, dataset_json)
    base, novel = decide(setting, dataset, coco, splits_dir, show)
    untrained = _untrained(coco["annotations"], base + novel)
    if set(base) <= set(untrained):
        raise DataError(
            f"{_source(dataset)}: no object of a base category can be learned from: all are crowds (iscrowd 1), "
            "thinner than 1 px or of area 0"
        )
    if untrained:
        names = {category["id"]: category["name"] for category in dataset["categories"]}
        say(f"warning: no object to learn from, so not in AP: {_spell(set(untrained), names)}", error=True)
    write_coco(
        out_dir / "instances_train.json",
        _images(coco),
        for_training(coco["annotations"], set(novel)),
        dataset["categories"],
    )
    counts = count_masks(coco["annotations"])
    identity = {"dataset": dataset["digest"], "setting": setting, "base": base, "novel": novel}
    split = {
        "setting": setting,
        "base": base,
        "novel": novel,
        "n_base_masks": sum(counts[i].masks for i in base if i in counts),
        "n_novel_boxes": sum(counts[i].annotations for i in novel if i in counts),
        "untrained": untrained,
        "digest": hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32],
        "sha256": hashlib.sha256((out_dir / "instances_train.json").read_bytes()).hexdigest(),
    }
    write_json(out_dir / "split.json", split)
    return split


def show_split(dataset_json: Path, setting: str, splits_dir: Path = SPLITS) -> None:
    """Print a setting's categories with their counts; raises what `write_split` does."""
    dataset = read_dataset(dataset_json)
    decide(setting, dataset, read_train(dataset, dataset_json), splits_dir, show=True)


def read_split(path: Path) -> dict[str, Any]:
    """Read a `split.json`; DataError if it is missing, or damaged."""
    split = read_record(path, {"digest": str, "base": list, "novel": list})
    if not all(type(number) is int for number in split["base"] + split["novel"]):
        raise DataError(f"{path}: base and novel must be category ids; delete it, and it is made again")
    return split


def read_train(dataset: dict[str, Any], dataset_json: Path) -> dict[str, Any]:
    """The training annotations, if they are still those that were verified."""
    path = Path(dataset["train"]["annotations"])
    check_unchanged(path, dataset["train"]["sha256"], dataset_json)
    return parse_coco(read_coco_bytes(path), path)


def _source(dataset: dict[str, Any]) -> str:
    """The person's training file; descriptions of before there were files of ours name it as `annotations`."""
    return dataset["train"].get("source", dataset["train"]["annotations"])


def _untrained(annotations: list[dict], categories: list[int]) -> list[int]:
    """Categories of which training sees no object (mmdet's rule, `CocoDataset.parse_data_info`): no AP is theirs."""
    trained = {
        a["category_id"]
        for a in annotations
        if not (a["iscrowd"] or a.get("ignore")) and a["area"] > 0 and min(a["bbox"][2:]) >= 1
    }
    return [category for category in categories if category not in trained]


def _check_masks(counts: Counts, base: list[int], dataset: dict[str, Any]) -> None:
    """Refuse base annotations without a mask: training would fail on them far from the cause."""
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    lacking = {i: count.annotations - count.masks for i in base if (count := counts.get(i))}
    problems = [
        f"{lacking[i]} annotations of base category {names[i]} ({i}) have no segmentation; add them, or make the "
        "category novel"
        for i in sorted(lacking)
        if lacking[i]
    ]
    raise_problems(_source(dataset), problems)


def for_training(annotations: list[dict], novel: set[int]) -> Iterator[dict]:
    """The annotations without novel masks; a crowd without mask has its box as one, for mmdet's reader."""
    for annotation in annotations:
        if annotation["category_id"] in novel:
            yield _box_only(annotation)
        elif annotation.get("segmentation"):
            yield annotation
        else:
            yield annotation | {"segmentation": box_polygon(annotation["bbox"])}


def _box_only(annotation: dict) -> dict:
    """A new annotation made only of the fields that may remain of a novel one."""
    kept = {key: annotation[key] for key in ("id", "image_id", "category_id", "bbox", "area", "iscrowd")}
    if annotation.get("ignore"):
        kept["ignore"] = 1  # else mmdet would train on a box that the data set excludes
    return kept | {"segmentation": box_polygon(annotation["bbox"])}


def write_all_masks(dataset_json: Path, setting: str, out: Path, splits_dir: Path = SPLITS) -> None:
    """Write training annotations that keep novel masks: for upper bounds, which break the protocol.

    Only runs whose option `novel_masks` asks for it read this file; their rows are marked in every table.

    Raises:
        DataError: the setting is unusable, the annotations changed, or novel annotations have no segmentation.
    """
    dataset = read_dataset(dataset_json)
    coco = read_train(dataset, dataset_json)
    _, novel = decide(setting, dataset, coco, splits_dir, show=False)
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    lacking = {a["category_id"] for a in coco["annotations"] if not (a["iscrowd"] or a.get("segmentation"))}
    problems = [
        f"novel category {names[i]} ({i}) has annotations without segmentation: an upper bound (option "
        "novel_masks) needs all of them; leave its rows out"
        for i in sorted(lacking & set(novel))
    ]
    raise_problems(dataset["train"]["annotations"], problems)
    write_coco(out, _images(coco), for_training(coco["annotations"], set()), dataset["categories"])


def _images(coco: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the images only what training reads."""
    return [{key: image[key] for key in ("id", "file_name", "width", "height")} for image in coco["images"]]
