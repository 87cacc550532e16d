"""The released RoI head beside this project's in training: the same weights, features, boxes and draw of keys."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.parity.functions import spread
from benchmarks.parity.inputs import pyramid, sampling, scene
from benchmarks.parity.lines import relative, say
from benchmarks.parity.released import Released, no_cuda
from benchmarks.parity.weights import parameters
from contrastmask.models.common import cam
from contrastmask.models.contrastmask.contrast import contrastive_weight
from contrastmask.models.contrastmask.keys import KeySets


def compare(theirs: Released, head: Any, ours: Any, seed: int) -> None:
    """Every comparison of the RoI heads `head` (theirs) and `ours`."""
    cl_forward(theirs, head.mask_head.contrastive_head, ours.cl_head, seed)
    for kinds in (["bn", "nb"], ["nn", "n"], ["bb", "b"]):
        training(theirs, head, ours, kinds, seed + 11)


def cl_forward(theirs: Released, head: Any, ours: Any, seed: int) -> None:
    """Encoder, projector with BatchNorm in training, self-affinity."""
    for module in (head, ours):
        module.train()
    torch.manual_seed(seed)
    x = torch.randn(3, 256, 28, 28)
    kept: dict[str, Tensor] = {}
    masks = torch.zeros(3, 28, 28)
    masks[:, 6:20, 8:22] = 1
    hooks = [
        head.projector[-1].register_forward_hook(lambda m, i, o: kept.update(z=o)),
        head.encoder[-1].register_forward_hook(lambda m, i, o: kept.update(e=o)),
    ]
    with torch.no_grad():
        edge = theirs.edge_utils.seg2edge(masks)
        y, _ = head(x, torch.rand(3, 1, 28, 28), edge, masks, torch.tensor([False, True, False]))
        encoded = ours.encode(x)
        z, mine = ours.project(encoded, [3]), ours.mask_features(encoded)
    for hook in hooks:
        hook.remove()
    say("encoder", "3 RoIs", relative(encoded, kept["e"]), 1e-5)
    say("projector", "3 RoIs", relative(z.reshape(-1, 256), kept["z"]), 1e-5)
    say("Y", "3 RoIs", relative(mine, y), 1e-5)


def training(theirs: Released, head: Any, ours: Any, kinds: list[str], seed: int) -> None:
    """One training pass of both RoI heads in double precision, with their draw of keys: every loss and gradient."""
    name = f"[{'+'.join(kinds)}]"
    samples, proposals = scene(kinds, seed)
    x_theirs, x_ours = (pyramid(len(kinds), seed) for _ in range(2))
    with double_precision(head, ours):
        found = sampling(ours, samples, proposals, seed)
        head.mask_head.contrastive_head.weight = 10 * contrastive_weight(ours.progress, ours.options)
        out, drawn = their_pass(theirs, head, found, samples, x_theirs, seed)
        with patch.object(KeySets, "sample", lambda self, sigma: spread(drawn)):
            seen = ours.bbox_loss(x_ours, found)
            mine = seen["loss_bbox"] | ours.mask_losses(x_ours, ours.mask_batch(found, samples, seen))
        for part, loss in out.items():  # mmdet 3 adds 1e-7 to the number of RoIs that it divides by
            say(f"{name} {part} (relative)", "", relative(mine[part], loss), 5e-8)
        table = parameters(head, ours)
        left = gradient(out, out, [p for _, p, _ in table], x_theirs)
        right = gradient(mine, out, [p for *_, p in table], x_ours)
    both = [(a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    worst = max(relative(b.reshape(a.shape), a) for a, b in both)
    say(f"{name} gradient (relative)", f"{len(table)} parameters, P2-P6", worst, 1e-6)


def gradient(losses: Any, names: Any, of: list[nn.Parameter], x: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """Of the sum of the named losses, by parameters and features."""
    total = sum((losses[name].sum() for name in names), torch.zeros(()))
    return torch.autograd.grad(total, [*of, *x], allow_unused=True)


def their_pass(
    theirs: Released, head: Any, found: list[Any], samples: list[Any], x: tuple[Tensor, ...], seed: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Their losses under our names, and the keys that they drew."""
    truth = [sample.gt_instances for sample in samples]
    box = head._bbox_forward_train(x, found, [i.bboxes for i in truth], [i.labels for i in truth], None)
    # their row numbers assume 512 RoIs an image: give them that
    parts = box["bbox_cam"].split([len(r.priors) for r in found])
    maps = torch.cat([F.pad(part, (0, 0, 0, 0, 0, 0, 0, 512 - len(part))) for part in parts])
    metas = [{"ann_info": {"is_novel": (i.labels < 40).long().numpy(), "labels": i.labels.numpy()}} for i in truth]
    drawn: dict[str, Tensor] = {}
    select = theirs.contrastive_head.get_query_keys

    def catch(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        drawn.update(select(*args, **kwargs))
        return drawn

    random.seed(seed)
    masks = [i.masks for i in truth]
    with no_cuda(), patch.object(theirs.contrastive_head, "get_query_keys", catch):
        out = head._mask_forward_train(x, found, box["bbox_feats"], maps, masks, metas)["loss_mask"]
    losses = {name: box["loss_bbox"][name] for name in ("loss_cls", "loss_bbox")}
    return losses | {"loss_mask": out["loss_mask"], "loss_contrast": out["loss_contrastive"]}, drawn


@contextmanager
def double_precision(*modules: nn.Module) -> Iterator[None]:
    """Modules in training mode and double precision, and our 1e-6 in the min-max taken out."""
    for module in modules:
        module.train().double()
    with patch.object(cam, "EPS", 0), patch.object(torch.Tensor, "float", torch.Tensor.double):
        yield
    for module in modules:
        module.float()
