"""The stand-in operators on a device against the same in float64 on the CPU, both passes: deviation and time.

What the CPU computes is tested against naive implementations (tests/models/common/test_ops.py). Operators are called as
mmdet calls them, through mmcv, at the sizes of a training step.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import contrastmask.models  # isort: skip  # noqa: F401  # first: puts torchvision's operators behind mmcv's
import mmcv.ops
import torch
from torch import Tensor

TOLERANCE = 1e-3  # of the largest value: far above rounding, far below a shift by half a pixel
IMAGES, CHANNELS, CLASSES = 2, 256, 80
ROIS = 512  # of an image
BOXES, NEAR = 4000, 20  # boxes for NMS, in clusters of so many within 5 pixels
HEAD = ("Operator", "pass", "input", "deviation", "verdict", "ms")


@dataclass(frozen=True)
class Operator:
    """`call` takes `inputs`; the gradient is with respect to the first, unless the operator has none."""

    name: str
    call: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    deviation: Callable[[Tensor, Tensor], float]
    has_gradient: bool = True


def operators(height: int, width: int) -> list[Operator]:
    """Those of a training step on images of that size, with fixed random inputs."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(IMAGES, CHANNELS, height // 4, width // 4, generator=generator)
    image = torch.arange(IMAGES).repeat_interleave(ROIS)[:, None]
    rois = torch.cat([image, _boxes(IMAGES * ROIS, height, width, generator)], dim=1)
    pixels = sum((height // stride) * (width // stride) for stride in (8, 16, 32, 64, 128))
    logits = torch.randn(IMAGES * pixels, CLASSES, generator=generator)
    labels = torch.randint(0, CLASSES + 1, (IMAGES * pixels,), generator=generator)
    boxes = _boxes(BOXES // NEAR, height, width, generator).repeat(NEAR, 1)
    boxes = boxes + torch.randint(-40, 41, boxes.shape, generator=generator) / 8
    scores = torch.randperm(BOXES, generator=generator) / BOXES  # no two alike
    return [
        *(
            Operator(f"RoIAlign {size} x {size}", mmcv.ops.RoIAlign(size, 1 / 4), (features, rois), of_largest)
            for size in (7, 14)
        ),
        Operator(
            "focal loss",
            lambda logits, labels: mmcv.ops.sigmoid_focal_loss(logits, labels, 2.0, 0.25, None, "none"),
            (logits, labels),
            of_largest,
        ),
        Operator(
            "NMS",
            lambda boxes, scores: mmcv.ops.nms(boxes, scores, 0.7)[1],
            (boxes, scores),
            of_kept,
            has_gradient=False,
        ),
    ]


def _boxes(number: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """(number, 4) with the sides that FPN gives to stride 4, in eighths of a pixel.

    These are exact in fp32, so that RoIAlign takes as many samples of a bin in both precisions.
    """
    size = torch.tensor([width, height])
    sides = 16 + (0.45 * size.clamp(max=248) - 16) * torch.rand(number, 2, generator=generator)
    corners = (size - sides) * torch.rand(number, 2, generator=generator)
    return (torch.cat([corners, corners + sides], dim=1) * 8).floor() / 8


def of_largest(found: Tensor, expected: Tensor) -> float:
    """The largest deviation, as a share of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def of_kept(found: Tensor, expected: Tensor) -> float:
    """Boxes that only one of the two keeps, as a share of those kept."""
    return len(set(found.tolist()) ^ set(expected.tolist())) / len(expected)


def check(operator: Operator, device: str, repeats: int) -> list[list[str]]:
    """A line under HEAD for each pass; its time is the median over the repeats."""
    expected = [out for out, _ in passes(operator, "cpu", torch.float64, 1)]
    rows = []
    for name, reference, (found, seconds) in zip(
        ("forward", "backward"), expected, passes(operator, device, torch.float32, repeats), strict=False
    ):
        deviation = operator.deviation(found.cpu().to(reference.dtype), reference)
        shape = " x ".join(map(str, operator.inputs[0].shape))
        verdict = "agrees" if deviation <= TOLERANCE else "differs"  # NaN differs
        rows.append([operator.name, name, shape, f"{deviation:.1e}", verdict, f"{1000 * seconds:.3f}"])
    return rows


def passes(operator: Operator, device: str, dtype: torch.dtype, repeats: int) -> list[tuple[Tensor, float]]:
    """What the forward and, if there is one, the backward pass give, and the median of their seconds."""
    inputs = [t.to(device, dtype if t.is_floating_point() else t.dtype) for t in operator.inputs]
    first = inputs[0].requires_grad_(operator.has_gradient)
    output, forward = _timed(lambda: operator.call(*inputs), device, repeats)
    if not operator.has_gradient:
        return [(output, forward)]
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output)
    gradient, backward = _timed(
        lambda: torch.autograd.grad(output, first, weights, retain_graph=True)[0], device, repeats
    )
    return [(output.detach(), forward), (gradient, backward)]


def _timed(call: Callable[[], Tensor], device: str, repeats: int) -> tuple[Tensor, float]:
    """The last result and the median of the seconds; on a GPU after one that does not count."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    if device == "cuda":
        call()
    seconds = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        result = call()
        wait()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def notes(stand_in: bool, repeats: int) -> list[str]:
    """What the lines are."""
    whose = "torchvision's, behind mmcv's interface" if stand_in else "mmcv's own, compiled"
    return [
        f"Operators ({whose}) in fp32 against the same on the CPU in float64. Deviation: the largest, as a share of the"
        " largest value; of NMS, boxes that only one of both keeps, as a share of those kept. Up to"
        f" {TOLERANCE:g} agrees.",
        f"Median time of {repeats}. NMS has no gradient.",
    ]


def differing(rows: Sequence[Sequence[str]]) -> list[str]:
    """The operators whose verdict is that they differ, with the pass."""
    return [f"{row[0]}, {row[1]}" for row in rows if row[HEAD.index("verdict")] == "differs"]
