"""One set of random weights in both detectors: their state mapped to this project's, key by key."""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.parity.lines import say

#: The keys that differ: theirs and ours. All others are the same.
RENAMED = {
    "mask_head.fuseconv": "mask_head.fuse.conv",
    "mask_head.contrastive_head.encoder": "cl_head.encoder",
    "mask_head.contrastive_head.projector.0.conv": "cl_head.projector.hidden.0",
    "mask_head.contrastive_head.projector.1.conv": "cl_head.projector.hidden.1",
    "mask_head.contrastive_head.projector.0.bn": "cl_head.projector.norms.0",
    "mask_head.contrastive_head.projector.1.bn": "cl_head.projector.norms.1",
    "mask_head.contrastive_head.projector.2": "cl_head.projector.last",
}
#: Ours alone: which labels are base, and biases before BatchNorm, which cancel there and are 0 here.
OURS = {"roi_head.is_base", *(f"roi_head.cl_head.projector.hidden.{layer}.bias" for layer in (0, 1))}


def our_key(theirs: str) -> str:
    """The key of this project's state that holds what their key holds."""
    for old, new in RENAMED.items():
        theirs = theirs.replace(f"{old}.", f"{new}.")
    return theirs


def parameters(theirs: nn.Module, ours: nn.Module) -> list[tuple[str, nn.Parameter, nn.Parameter]]:
    """(name, theirs, ours) of every parameter of a part of both detectors."""
    mine = dict(ours.named_parameters())
    return [(name, parameter, mine[our_key(name)]) for name, parameter in theirs.named_parameters()]


def initial(theirs: nn.Module, ours: nn.Module) -> None:
    """First weights of the RoI heads, before any is copied: the spread of each parameter."""
    worst, table = 0.0, parameters(theirs, ours)
    for _, *pair in table:
        one, two = (float(p.detach().std(unbiased=False)) for p in pair)
        worst = max(worst, abs(one - two) / max(one, 1e-3))
    say("spread of first weights (relative)", f"{len(table)} parameters", worst, 0.15)


def share(theirs: nn.Module, ours: Any, image: Tensor) -> None:
    """Random weights that let every part count, in both.

    Biases are not 0, classes and anchors have contrast, mask logits have both signs, and BatchNorm's statistics are
    those of an image (1, 3, H, W), so that features keep their size from layer to layer.
    """
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if parameter.ndim == 1 and "hidden" not in name:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        ours.roi_head.bbox_head.fc_cls.weight.normal_(0, 0.5, generator=generator)
        ours.rpn_head.rpn_cls.weight.normal_(0, 0.2, generator=generator)
        logits = ours.roi_head.mask_head.conv_logits.weight
        logits -= logits.mean()
        for norm in (module for module in ours.backbone.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.momentum = 1.0
            norm.train()
        ours.backbone(image)
        ours.eval()
    state = ours.state_dict()
    given = {key: state.pop(our_key(key)).reshape(value.shape) for key, value in theirs.state_dict().items()}
    theirs.load_state_dict(given)
    say("keys of the state without a partner", f"{len(given)} keys", len(set(state) ^ OURS), 0)
