"""Training annotations that keep the masks of novel categories: for upper bounds, which break the protocol.

Only runs whose option `novel_masks` asks for it read this file; their rows are marked in every table. All others read
what `splits` writes, where no novel mask is left.
"""

from pathlib import Path

from contrastmask.data.dataset import read_dataset
from contrastmask.data.splits import SPLITS, decide, for_training, read_train
from contrastmask.runtime.files import raise_problems, write_coco


def write_all_masks(dataset_json: Path, setting: str, out: Path, splits_dir: Path = SPLITS) -> None:
    """Write the training annotations whole, after checking that novel ones have masks at all.

    Raises:
        DataError: the setting is unusable, the annotations changed, or novel annotations have no segmentation.
    """
    dataset = read_dataset(dataset_json)
    coco = read_train(dataset, dataset_json)
    _, novel = decide(setting, dataset, coco, splits_dir, show=False)
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    lacking = {a["category_id"] for a in coco["annotations"] if not (a["iscrowd"] or a.get("segmentation"))} & set(
        novel
    )
    raise_problems(
        dataset["train"]["annotations"],
        [
            f"novel category {names[i]} ({i}) has annotations without segmentation: an upper bound (option "
            "novel_masks) needs all of them; leave its rows out"
            for i in sorted(lacking)
        ],
    )
    images = [{key: image[key] for key in ("id", "file_name", "width", "height")} for image in coco["images"]]
    write_coco(out, images, for_training(coco["annotations"], set()), dataset["categories"])
