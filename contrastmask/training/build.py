"""From a resolved configuration and a dataset to mmdet's objects: the model and the datasets."""

import copy
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import contrastmask.models  # isort: skip  # noqa: F401  # first: puts torchvision's operators behind mmcv's
from contrastmask.data import transforms  # isort: skip  # noqa: F401  # registers what pipelines name
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from torch import nn

from contrastmask.config.resolve import assembled
from contrastmask.data.shape_priors import read_priors
from contrastmask.errors import ConfigError
from contrastmask.models.common.in_place import put_in_place
from contrastmask.training.weights import check_fit
from contrastmask.training.weights import read as read_weights


def build_model(
    config: dict[str, Any],
    dataset: dict[str, Any],
    split: dict[str, Any],
    weights: str | None,
    priors: Path | None = None,
) -> nn.Module:
    """The detector for a dataset's categories, with masks of the split's base categories.

    Args:
        config: from `config.resolve`.
        dataset: content of dataset.json.
        split: content of split.json.
        weights: file of backbone weights, or None for random ones.
        priors: ShapeMask's file of shape priors; None if none are needed or they come with the detector's weights.

    Raises:
        ConfigError: the configuration names a part that is not there, or gives one what it does not take; the weights
            do not fit.
    """
    init_default_scope("mmdet")
    state = read_weights(Path(weights), weights) if weights else {}  # tensors only: mmengine would run any other pickle
    try:
        detector = MODELS.build(ConfigDict(model_config(config, dataset, split, weights)))
    except ConfigError:
        raise
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        if not _unchanged_can_be_made(config, dataset, split):
            raise
        at = traceback.extract_tb(error.__traceback__)[-1]  # an assertion of mmdet says nothing else
        raise ConfigError(
            f"mmdet cannot make the configuration's model: {type(error).__name__}: {error} ({Path(at.filename).name}, "
            f"line {at.lineno}: {at.line}). Mend what the `config` of its scale or row changes"
        ) from error
    if weights:  # mmengine would leave out what does not fit
        check_fit(state, dict(detector.backbone.named_parameters()), config["backbone"], weights)
    if priors is not None:
        detector.roi_head.mask_head.priors.copy_(torch.from_numpy(read_priors(priors)))
    return detector


def _unchanged_can_be_made(config: dict[str, Any], dataset: dict[str, Any], split: dict[str, Any]) -> bool:
    """Whether mmdet makes the model as configs/ has it: then what a scale or a row changes is wrong, not our code."""
    options = config["model"]["roi_head"]["options"]
    unchanged = assembled(config["method"], config["backbone"], config["schedule_name"], options)
    with torch.device("meta"), suppress(Exception):
        MODELS.build(ConfigDict(model_config(unchanged, dataset, split, weights=None)))
        return True
    return False


def model_config(
    config: dict[str, Any], dataset: dict[str, Any], split: dict[str, Any], weights: str | None
) -> dict[str, Any]:
    """mmdet's configuration of the detector; arguments as of `build_model`."""
    ids = [category["id"] for category in dataset["categories"]]
    model = copy.deepcopy(config["model"])
    if weights:
        model["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": weights}
    box_heads = (part["bbox_head"] for part in (model, model["roi_head"]) if "bbox_head" in part)
    for head in box_heads:
        head["num_classes"] = len(ids)
    model["roi_head"] |= {"num_classes": len(ids), "base_labels": [ids.index(base) for base in split["base"]]}
    return put_in_place(model)


def build_dataset(
    config: dict[str, Any], dataset: dict[str, Any], part: str, annotations: Path | None = None
) -> CocoDataset:
    """mmdet's COCO dataset of `part` ("train" or "val"), labels in the order of dataset.json's categories.

    Training reads `annotations` (the split's file, without novel masks) and drops images without objects; evaluation
    keeps every image and reads boxes and masks only to compare with.
    """
    init_default_scope("mmdet")
    return CocoDataset(**dataset_config(config, dataset, part, annotations))


def dataset_config(
    config: dict[str, Any], dataset: dict[str, Any], part: str, annotations: Path | None = None
) -> dict[str, Any]:
    """The arguments of mmdet's CocoDataset; those of `build_dataset`."""
    training = part == "train"
    return {
        "ann_file": str(annotations or dataset[part]["annotations"]),
        "data_prefix": {"img": dataset[part]["images"]},
        "metainfo": {"classes": tuple(category["name"] for category in dataset["categories"])},
        "filter_cfg": {"filter_empty_gt": True} if training else None,
        "pipeline": train_pipeline(config) if training else test_pipeline(config),
        "test_mode": not training,
    }


def train_pipeline(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Random resize, random flip (Sec. 4.1). Two sizes in the configuration are a range, more are a choice of them."""
    scales = [tuple(scale) for scale in config["image"]["train"]]
    if len(scales) == 1:
        resize = {"type": "Resize", "scale": scales[0]}
    elif len(scales) == 2:
        resize = {"type": "RandomResize", "scale": scales}
    else:
        resize = {"type": "RandomChoiceResize", "scales": scales}
    load = {"bitmaps": "LoadAnnotations", "polygons": "LoadPolygons"}[config["image"]["masks"]]
    return [
        {"type": "LoadVerifiedImage"},
        {"type": load, "with_bbox": True, "with_mask": True},
        resize | {"keep_ratio": True},
        {"type": "RandomFlip", "prob": float(config["image"]["flip"])},
        {"type": "PackDetInputs"},
    ]


def test_pipeline(config: dict[str, Any]) -> list[dict[str, Any]]:
    """One scale, no flip (evaluation protocol)."""
    return [
        {"type": "LoadVerifiedImage"},
        {"type": "Resize", "scale": tuple(config["image"]["test"]), "keep_ratio": True},
        {"type": "PackDetInputs", "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")},
    ]
