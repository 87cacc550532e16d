"""One annotation file into two, for training and evaluation: `contrastmask split-data`."""

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from contrastmask.data import amend, verify
from contrastmask.data.problems import Problems
from contrastmask.errors import DataError
from contrastmask.runtime.files import parse_person, read_coco_bytes, write_coco

Group = str
"""Images that stay together: one image, or those whose names begin alike."""


def split_data(annotations: Path, val: float, seed: int, out: Path, group: str | None = None) -> dict[str, Any]:
    """Write `out`/<stem>-train.json and <stem>-val.json, by image.

    Every category of two or more groups is in both parts where that is possible; training keeps them all.

    Args:
        annotations: a COCO file.
        val: share of the images to evaluate on.
        seed: of the random choice.
        out: folder.
        group: images whose file names are alike up to the last `group` stay together, such as frames of one video.

    Returns:
        The two paths, the images of each, and the names of categories that val lacks.

    Raises:
        DataError: the file is no COCO file, cannot be split, or a file to write exists.
    """
    found = Problems()
    coco = parse_person(read_coco_bytes(annotations), annotations, found.warn)
    amend.retype(coco, found)
    if verify.check_shape(coco, annotations, found):
        amend.refer(coco, found)
        verify.check_lists(coco, annotations, found)
        verify.check_references(coco, annotations, found)
    found.check(f"{annotations}: cannot be split")
    paths = {part: out / f"{annotations.stem}-{part}.json" for part in ("train", "val")}
    for path in paths.values():
        if path.exists():
            raise DataError(f"{path} exists: remove it, or give another --out")
    if group and not any(group in image["file_name"] for image in coco["images"]):
        name = coco["images"][0]["file_name"]
        raise DataError(
            f"{annotations}: no file name holds {group!r}, so --group keeps nothing together: such as {name!r}"
        )
    groups: defaultdict[Group, list[dict]] = defaultdict(list)
    for image in coco["images"]:
        groups[_group(image["file_name"], group)].append(image)
    categories: defaultdict[Any, set] = defaultdict(set)  # of each image
    for annotation in coco["annotations"]:
        categories[annotation["image_id"]].add(annotation["category_id"])
    held = {name: set().union(*(categories[i["id"]] for i in images)) for name, images in groups.items()}
    if len(groups) < 2:
        raise DataError(f"{annotations}: has {len(groups)} group of images, so nothing would be left to train on")
    chosen = choose(held, {name: len(images) for name, images in groups.items()}, val, seed)
    for part, path in paths.items():
        names = chosen if part == "val" else groups.keys() - chosen
        ids = {image["id"] for name in names for image in groups[name]}
        images = [image for image in coco["images"] if image["id"] in ids]
        write_coco(path, images, [a for a in coco["annotations"] if a["image_id"] in ids], coco["categories"])
    in_val = set().union(*(held[name] for name in chosen))
    lacking = [c["name"] for c in coco["categories"] if c["id"] in set().union(*held.values()) - in_val]
    n_val = sum(len(groups[name]) for name in chosen)
    return {"paths": paths, "train": len(coco["images"]) - n_val, "val": n_val, "lacking": lacking}


def _group(file_name: str, separator: str | None) -> Group:
    return file_name.rpartition(separator)[0] or file_name if separator else file_name


def choose(held: dict[Group, set], sizes: dict[Group, int], share: float, seed: int) -> set[Group]:
    """The groups of val: about `share` of the images, at least one group.

    First one group for each category, the rarest first; then more at random. A group that holds all that training
    would have of a category stays in training.

    Args:
        held: the categories of each group.
        sizes: images of each group.
    """
    order = sorted(held)
    random.Random(seed).shuffle(order)
    left = Counter(category for categories in held.values() for category in categories)
    wanted = max(1, round(share * sum(sizes.values())))
    chosen: set[Group] = set()

    def take(group: Group) -> bool:
        if group in chosen or len(chosen) == len(held) - 1 or any(left[category] < 2 for category in held[group]):
            return False
        chosen.add(group)
        left.subtract(held[group])
        return True

    for category, _ in sorted(left.items(), key=lambda item: (item[1], str(item[0]))):
        if not any(category in held[group] for group in chosen):
            any(take(group) for group in order if category in held[group])
    taken = sum(sizes[group] for group in chosen)
    for group in order:
        if taken + sizes[group] <= wanted and take(group):
            taken += sizes[group]
    if not chosen:  # a single group of each category: val gets the smallest anyway
        chosen.add(min(order, key=lambda group: sizes[group]))
    return chosen
