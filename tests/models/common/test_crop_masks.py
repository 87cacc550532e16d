"""Masks cropped to boxes, against mmdet's own."""

import contrastmask.models  # isort: skip  # noqa: F401  # before mmdet
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData

from contrastmask.models.common.in_place import MaskPreprocessor
from contrastmask.models.common.mask_batch import crop_masks

HEIGHT, WIDTH = 40, 56


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([7, 14, 28]))
def test_the_pixels_are_mmdets(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    masks = BitmapMasks(rng.integers(0, 2, (3, HEIGHT, WIDTH)).astype(np.uint8), HEIGHT, WIDTH)
    corners = rng.uniform(-4, 50, (9, 2))  # outside the image too
    boxes = np.concatenate([corners, corners + rng.uniform(0.5, 40, (9, 2))], axis=1).astype(np.float32)
    objects = rng.integers(0, 3, 9)
    theirs = masks.crop_and_resize(boxes, (size, size), objects, device="cpu")
    ours = crop_masks(masks, torch.from_numpy(boxes), torch.from_numpy(objects), size)
    assert ours.dtype == torch.bool
    assert np.array_equal(ours.numpy(), theirs.masks.astype(bool))


def test_an_image_without_positives_has_no_masks() -> None:
    none = BitmapMasks(np.zeros((0, HEIGHT, WIDTH), np.uint8), HEIGHT, WIDTH)
    assert crop_masks(none, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 14).shape == (0, 14, 14)


def test_masks_are_padded_on_the_device_as_mmdet_pads_them() -> None:
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 2, (3, HEIGHT, WIDTH)).astype(np.uint8)
    triangle = [[np.array([0, 0, 8, 0, 0, 8.0])] for _ in maps]
    inputs = [torch.zeros(3, *shape, dtype=torch.uint8) for shape in ((HEIGHT, WIDTH), (HEIGHT + 20, WIDTH))]

    def given(kind: type[DetDataPreprocessor]) -> list[DetDataSample]:
        samples = [DetDataSample(metainfo={"img_shape": i.shape[1:]}) for i in inputs]
        kinds = (BitmapMasks(maps, HEIGHT, WIDTH), PolygonMasks(triangle, HEIGHT + 20, WIDTH))
        for sample, masks in zip(samples, kinds, strict=True):
            sample.gt_instances = InstanceData(bboxes=torch.zeros(3, 4), masks=masks)
        return kind(pad_mask=True, pad_size_divisor=32)({"inputs": inputs, "data_samples": samples}, True)[
            "data_samples"
        ]

    (theirs, polygons), (ours, same) = given(DetDataPreprocessor), given(MaskPreprocessor)
    assert torch.equal(ours.gt_instances.masks, torch.from_numpy(theirs.gt_instances.masks.masks))
    assert ours.gt_instances.masks.dtype == torch.uint8 and ours.gt_instances.masks.shape == (3, 64, 64)
    assert same.gt_instances.masks.height == polygons.gt_instances.masks.height == 64
