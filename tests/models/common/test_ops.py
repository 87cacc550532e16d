"""torchvision's operators behind mmcv's interface, against references written from the definitions."""

import contrastmask.models  # noqa: F401  isort: skip  # first: puts the operators in place
import sys
from pathlib import Path

import mmcv.ops
import numpy as np
import pytest
import torch
from fresh_python import run
from hypothesis import given, settings
from hypothesis import strategies as st

from contrastmask.models.common import ops
from contrastmask.models.common.ops import StandIn, install

pytestmark = pytest.mark.skipif(not install(), reason="mmcv's compiled operators are installed: nothing stands in")


# ---------------------------------------------------------------- NMS


def naive_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, offset: int) -> list[int]:
    """Greedy: keep the best box, drop those that overlap it by more than the threshold, go on."""

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + offset, 0)
        areas = [np.prod(c[2:] - c[:2] + offset) for c in (a, b)]
        return float(np.prod(sides) / (sum(areas) - np.prod(sides)))

    left, kept = list(np.argsort(-scores)), []
    while left:
        best = left.pop(0)
        kept.append(int(best))
        left = [other for other in left if iou(boxes[best], boxes[other]) <= threshold]
    return kept


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0, 1]), st.sampled_from([0.3, 0.55]))
def test_nms_equals_the_greedy_definition(seed: int, offset: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 20, (15, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 15, (15, 2))], 1).astype(np.float32)
    scores = rng.permutation(15).astype(np.float32)
    kept = mmcv.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold, offset)[1]
    assert kept.tolist() == naive_nms(boxes.astype(np.float64), scores, threshold, offset)


def test_offset_changes_what_nms_keeps() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2]])  # IoU 1/3; with offset 6/12
    scores = torch.tensor([1.0, 0.5])
    assert [len(mmcv.ops.nms(boxes, scores, 0.4, offset)[1]) for offset in (0, 1)] == [2, 1]


# ---------------------------------------------------------------- RoIAlign


def bilinear(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """image (C, H, W) at a point in pixel-centre coordinates; 0 more than a pixel outside, the rim's value nearer."""
    _, height, width = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(image))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    upper = image[:, top, left] * (1 - u) + image[:, top, right] * u
    return upper * (1 - v) + (image[:, bottom, left] * (1 - u) + image[:, bottom, right] * u) * v


def naive_roi_align(
    features: np.ndarray, rois: np.ndarray, size: int, scale: float, ratio: int, aligned: bool
) -> np.ndarray:
    """Mean over a regular grid of samples in each bin; `ratio` samples a side, 0: as many as a bin has pixels."""
    out = np.zeros((len(rois), features.shape[1], size, size))
    for r, (image, *corners) in enumerate(rois):
        x1, y1, x2, y2 = np.array(corners) * scale - (0.5 if aligned else 0)
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        ny, nx = (ratio or max(int(np.ceil(side / size)), 1) for side in (height, width))
        for i, j in np.ndindex(size, size):
            ys = y1 + (i + (np.arange(ny) + 0.5) / ny) * height / size
            xs = x1 + (j + (np.arange(nx) + 0.5) / nx) * width / size
            out[r, :, i, j] = np.mean([bilinear(features[int(image)], y, x) for y in ys for x in xs], axis=0)
    return out


ROIS = torch.tensor(
    [[0, 2.0, 3.0, 14.0, 11.0], [1, 0.0, 0.0, 23.9, 23.9], [1, 7.2, 5.1, 8.0, 6.3], [0, -3.0, -2.0, 9.0, 30.0]],
    dtype=torch.float64,
)


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_equals_bilinear_sampling(ratio: int, aligned: bool) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    layer = mmcv.ops.RoIAlign(3, spatial_scale=0.5, sampling_ratio=ratio, aligned=aligned)
    expected = naive_roi_align(features.numpy(), ROIS.numpy(), 3, 0.5, ratio, aligned)
    np.testing.assert_allclose(layer(features, ROIS).numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_aligns_gradient_equals_finite_differences(ratio: int) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    layer = mmcv.ops.RoIAlign(2, spatial_scale=0.25, sampling_ratio=ratio)
    assert torch.autograd.gradcheck(lambda x: layer(x, ROIS), (features,))


def test_roi_align_takes_no_rois() -> None:
    assert mmcv.ops.RoIAlign(3)(torch.randn(1, 2, 6, 6), torch.zeros(0, 5)).shape == (0, 2, 3, 3)


def test_maximum_pooling_is_refused() -> None:
    layer = mmcv.ops.RoIAlign(3, pool_mode="max")
    with pytest.raises(NotImplementedError, match="pool_mode='max'"):
        layer(torch.randn(1, 2, 6, 6), torch.tensor([[0.0, 0, 0, 4, 4]]))


# ---------------------------------------------------------------- focal loss


def naive_focal_loss(logits: torch.Tensor, labels: torch.Tensor, gamma: float, alpha: float) -> torch.Tensor:
    """-alpha_t (1 - p_t)^gamma log p_t, logit by logit."""
    losses = []
    for row, label in zip(logits, labels, strict=True):
        for k, logit in enumerate(row):
            p = logit.sigmoid()
            p_t, alpha_t = (p, alpha) if k == label else (1 - p, 1 - alpha)
            losses.append(-alpha_t * (1 - p_t) ** gamma * p_t.log())
    return torch.stack(losses).view_as(logits)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (1.5, 0.4)])
def test_focal_loss_and_its_gradient_equal_the_definition(gamma: float, alpha: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 2, 3, 1, 3])  # 3 is the background
    weights = torch.rand(5, 3, dtype=torch.float64)
    found = mmcv.ops.sigmoid_focal_loss(logits, labels, gamma, alpha, None, "none")
    expected = naive_focal_loss(logits, labels, gamma, alpha)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((loss * weights).sum(), logits)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_focal_loss_with_class_weights_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="class weights"):
        mmcv.ops.sigmoid_focal_loss(torch.randn(2, 3), torch.tensor([0, 1]), 2.0, 0.25, torch.ones(3), "none")


# ---------------------------------------------------------------- the module itself


def test_an_operator_that_is_not_there_is_named() -> None:
    with pytest.raises(NotImplementedError, match="'deform_conv_forward'"):
        sys.modules["mmcv._ext"].deform_conv_forward(1, two=2)
    with pytest.raises(AttributeError):
        _ = StandIn("mmcv._ext").__path__


def test_a_compiled_extension_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").touch()
    (tmp_path / "mmcv" / "_ext.py").write_text("REAL = True\n")
    # the file by itself: its package imports mmdet, which the stand-in above cannot serve
    ours = f"import runpy; done = runpy.run_path({ops.__file__!r})['install']()"
    real = "import mmcv._ext as e"
    for code in (f"{ours}; {real}", f"{real}; {ours}"):
        assert run(f"{code}; print(done, e.REAL)", tmp_path) == "False True\n"


def test_importing_the_models_first_makes_mmdet_importable() -> None:
    code = (
        "import contrastmask.models, mmdet.models; from mmdet.registry import MODELS; "
        "print(all(MODELS.get(n) for n in ('MaskRCNN', 'ContrastMaskRoIHead', 'PartialRoIHead', 'CAMBoxHead')))"
    )
    assert run(code).split()[-1] == "True"
