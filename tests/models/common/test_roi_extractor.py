"""Features of RoIs, against mmdet's extractor."""

import contrastmask.models  # isort: skip  # noqa: F401  # before mmdet
import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

from contrastmask.models.common.in_place import SortingRoIExtractor

STRIDES = [4, 8, 16, 32]


@pytest.mark.parametrize("scale", [None, 1.5])
@pytest.mark.parametrize("sides", [(8, 600), (8, 40), (300, 301), None], ids=["all levels", "first", "middle", "none"])
def test_features_and_gradients_are_mmdets(sides: tuple[int, int] | None, scale: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    number = 20 if sides else 0
    low, high = sides or (1, 2)
    corners = 100 * torch.rand(number, 2, generator=generator)
    size = low + (high - low) * torch.rand(number, 2, generator=generator)
    image = torch.randint(0, 2, (number, 1), generator=generator)
    rois = torch.cat([image, corners, corners + size], dim=1)
    found = []
    for kind in (SortingRoIExtractor, SingleRoIExtractor):
        generator.manual_seed(1)
        maps = tuple(torch.randn(2, 3, 640 // s, 640 // s, generator=generator).requires_grad_() for s in STRIDES)
        layer = dict(type="RoIAlign", output_size=7, sampling_ratio=0)
        features = kind(roi_layer=layer, out_channels=3, featmap_strides=STRIDES)(maps, rois, scale)
        if number:
            features.square().sum().backward()
            assert all(level.grad is not None for level in maps), "unused levels are in the graph too"
        found.append((features, [level.grad for level in maps]))
    assert found[0][0].equal(found[1][0])
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        assert (ours is None and theirs is None) or ours.equal(theirs)
