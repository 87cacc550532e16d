"""Annotated boxes as the network sees them, and what an image's evaluation asks of the network."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from pycocotools.coco import COCO

from contrastmask.evaluation.evaluate import predict_image
from contrastmask.evaluation.gt_boxes import Image

CATEGORIES = [17, 4]  # label 0 is category 17
SCALE = 0.5, 2.0  # of width and height
BOXES = {1: (4, [4, 6, 10, 8]), 2: (17, [12, 2, 8, 16]), 3: (4, [0, 0, 20, 20])}


def rectangle(box: list[int]) -> np.ndarray:
    x, y, w, h = box
    mask = np.zeros((20, 30), bool)
    mask[y : y + h, x : x + w] = True
    return mask


class Painter:
    """A detector without detections that fills each given box, and keeps the labels it was given."""

    def __init__(self) -> None:
        nothing = InstanceData(
            bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0), masks=torch.zeros(0, 20, 30)
        )
        self.rpn_head = SimpleNamespace(predict=lambda *_, **__: [])
        self.roi_head = SimpleNamespace(predict=lambda *_, **__: [nothing], predict_masks_in_boxes=self.paint)

    def data_preprocessor(self, data: dict[str, Any]) -> dict[str, Any]:
        return data

    def extract_feat(self, inputs: Any) -> tuple[torch.Tensor]:
        return (torch.zeros(1),)

    def paint(self, features: Any, metas: list, boxes: list[torch.Tensor], labels: list[torch.Tensor]) -> list:
        self.labels = labels[0].tolist()
        corners = boxes[0] / torch.tensor(metas[0]["scale_factor"]).repeat(2)
        masks = [rectangle([x1, y1, x2 - x1, y2 - y1]) for x1, y1, x2, y2 in corners.int().tolist()]
        return [InstanceData(masks=torch.from_numpy(np.stack(masks)))]


def truth() -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 7, "width": 30, "height": 20}],
        "categories": [{"id": c, "name": str(c)} for c in CATEGORIES],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": int(i == 3),
             "segmentation": [[b[0], b[1], b[0] + b[2], b[1], b[0] + b[2], b[1] + b[3], b[0], b[1] + b[3]]]}
            for i, (c, b) in BOXES.items()
        ],
    }  # fmt: skip
    coco.createIndex()
    return coco


def test_boxes_and_labels_are_those_of_the_networks_input() -> None:
    image = Image((torch.zeros(1),), [SimpleNamespace(metainfo={"scale_factor": SCALE})])
    annotations = [{"bbox": box, "category_id": category} for category, box in BOXES.values()]
    assert image.boxes(annotations).tolist() == [[2, 12, 7, 28], [6, 4, 10, 36], [0, 0, 10, 40]]
    assert image.labels(annotations, CATEGORIES).tolist() == [1, 0, 1]


def test_masks_in_true_boxes_are_compared_each_with_its_own_object() -> None:
    """Boxes filled at the network's scale are the rectangles of the annotations; the crowd is not asked for."""
    model, sample = Painter(), SimpleNamespace(metainfo={"img_id": 7, "scale_factor": SCALE})
    found, ious = predict_image(model, {"inputs": None, "data_samples": sample}, truth(), CATEGORIES)
    assert found == [] and model.labels == [1, 0]
    assert ious == [(1, 4, pytest.approx(1)), (2, 17, pytest.approx(1))]
