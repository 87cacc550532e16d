"""Which loss of which system trains which parts, and each of them whole: a row each."""

from typing import Any

import pytest
from models import tiny

FPN = ("backbone", "neck")
MASK_HEAD = ("mask_head.convs", "mask_head.upsample", "mask_head.conv_logits")
ENCODER, PROJECTOR = "cl_head.encoder", "cl_head.projector"
CAM = ("bbox_head.shared_convs", "bbox_head.cls_convs")  # never the classifier's weights, never the box branch
TRANSFER = ("mask_head.convs", "mask_head.upsample", "mask_head.mlp", "mask_head.transfer")
SALIENCY = ("saliency.convs", "saliency.predictor")
PROPAGATION = ("propagation.weights", "propagation.encoder", "propagation.decoder")
AFFINITY = ("boundary.convs", "affinity.theta", "affinity.phi")
PRIOR = ("mask_head.reduce", "mask_head.shape_logits")
COARSE = ("mask_head.prior_embedding", "mask_head.coarse_convs", "mask_head.coarse_logits")
HOURGLASS = ("mask_head.hourglass", "mask_head.upsample", "mask_head.upsample_norm", "mask_head.conv_logits")
NO_WEIGHT = {"bbox_head.fc_cls.bias", "bbox_head.fc_reg.bias"}  # MaskX's descriptors are rows of the weights

ROWS = [
    ("mask-rcnn", "paper", {}, "loss_mask", {*FPN, *MASK_HEAD}),
    ("contrastmask", "paper", {}, "loss_contrast", {ENCODER, PROJECTOR}),
    ("contrastmask", "official", {}, "loss_contrast", {ENCODER, PROJECTOR}),
    ("contrastmask", "paper", {"detach_cl_input": False}, "loss_contrast", {*FPN, ENCODER, PROJECTOR}),
    ("contrastmask", "paper", {}, "loss_mask", {*FPN, *MASK_HEAD, ENCODER, *CAM}),
    ("contrastmask", "official", {}, "loss_mask", {*FPN, *MASK_HEAD, "mask_head.fuse", ENCODER, *CAM}),
    ("contrastmask", "paper", {"detach_cam": True}, "loss_mask", {*FPN, *MASK_HEAD, ENCODER}),
    ("contrastmask", "official", {"detach_cam": True}, "loss_mask", {*FPN, *MASK_HEAD, "mask_head.fuse", ENCODER}),
    ("contrastmask", "paper", {"cam": False}, "loss_mask", {*FPN, *MASK_HEAD, ENCODER}),
    ("contrastmask", "paper", {"cl_loss": False}, "loss_mask", {*FPN, *MASK_HEAD, ENCODER, *CAM}),
    ("opmask", "paper", {}, "loss_mask", {*FPN, *MASK_HEAD, "bbox_head.shared_convs"}),
    ("opmask", "paper", {"detach_cam": True}, "loss_mask", {*FPN, *MASK_HEAD}),
    ("maskx-rcnn", "paper", {"detach_descriptor": True}, "loss_mask", {*FPN, *TRANSFER}),
    (
        *("maskx-rcnn", "paper", {"detach_descriptor": False}, "loss_mask"),
        {*FPN, *TRANSFER, "bbox_head.fc_cls", "bbox_head.fc_reg"},
    ),
    ("deep-marc", "paper", {}, "loss_mask", {*FPN, *HOURGLASS}),
    ("shapeprop", "both", {}, "loss_saliency", {*FPN, *SALIENCY}),
    ("shapeprop", "both", {}, "loss_propagation", {*FPN, *SALIENCY, *PROPAGATION}),
    ("shapeprop", "both", {}, "loss_mask", {*FPN, *SALIENCY, *PROPAGATION, *MASK_HEAD, "mask_head.encoder"}),
    ("cpmask", "both", {}, "loss_boundary", {*FPN, "boundary.convs", "boundary.upsample", "boundary.conv_logits"}),
    ("cpmask", "both", {}, "loss_affinity", {*FPN, *AFFINITY}),
    ("cpmask", "both", {}, "loss_mask", {*FPN, *AFFINITY, "affinity.g", "affinity.output", *MASK_HEAD}),
    ("shapemask", "paper", {}, "loss_prior", {*FPN, *PRIOR}),
    ("shapemask", "paper", {}, "loss_coarse", {*FPN, *PRIOR, *COARSE}),
    ("shapemask", "paper", {}, "loss_mask", {*FPN, *PRIOR, *COARSE, *MASK_HEAD, "mask_head.mask_embedding"}),
]


def part(name: str) -> str:
    """`neck`, `rpn_head`, ...; of the RoI head `cl_head.encoder`, `mask_head.convs`, ..."""
    first, *rest = name.split(".")
    return ".".join(rest[:2]) if first == "roi_head" else first


@pytest.mark.parametrize(("method", "preset", "options", "loss", "parts"), ROWS)
def test_a_loss_trains_these_parts(
    method: str, preset: str, options: dict[str, Any], loss: str, parts: set[str]
) -> None:
    net, batch = tiny.moved(tiny.build(method, preset, **options)), tiny.make_batch()
    losses = (tiny.detector_losses if method in ("cpmask", "shapemask") else tiny.roi_losses)(net, batch)
    losses[loss].backward()
    reached = {name for name, size in tiny.grads(net).items() if size > 0}
    assert {part(name) for name in reached} == parts
    whole = {f"roi_head.{n}" for n, _ in net.roi_head.named_parameters() if ".".join(n.split(".")[:2]) in parts}
    assert {name.removeprefix("roi_head.") for name in whole - reached} <= NO_WEIGHT
