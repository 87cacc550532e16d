"""The released functions beside this project's, on the same random and degenerate inputs."""

from contextlib import redirect_stdout
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parity.inputs import RELEASED, WHOLE, raw_maps, shapes
from benchmarks.parity.lines import gap, relative, say
from benchmarks.parity.released import Released
from contrastmask.models.common.cam import activation_prior, min_max, resize
from contrastmask.models.contrastmask import keys as keys_module
from contrastmask.models.contrastmask.contrast import contrastive_loss, contrastive_weight
from contrastmask.models.contrastmask.keys import KeySets, Partition, boundary, key_sets, partition

#: Their key sets: ours.
NAMES = {
    "easy_positive_sets_N": "fg_easy",
    "hard_positive_sets_N": "fg_hard",
    "easy_negative_sets_N": "bg_easy",
    "hard_negative_sets_N": "bg_hard",
}


def compare(theirs: Released, seed: int) -> None:
    """Every comparison of functions."""
    for part in (edges, cams, sets, counts, losses, degenerate, warm_up):
        part(theirs, seed)


# ------------------------------------------------------------------------- both sides of a comparison


def bilinear(maps: Tensor, size: int) -> Tensor:
    return F.interpolate(maps[:, None], size=(size, size), mode="bilinear", align_corners=False)


def their_cam(theirs: Released, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Un-normalised 28 px maps as their mask head hands them to their contrastive head, and after normalisation."""
    at28 = bilinear(bilinear(raw, 14)[:, 0], 28)
    return at28, theirs.sample_utils.normalize_zero_to_one(at28[:, 0])


def their_keys(theirs: Released, at28: Tensor, masks: Tensor, novel: Tensor, percent: float) -> dict[str, Tensor]:
    """What their selection returns for masks (R, 28, 28), bool."""
    edge = theirs.edge_utils.seg2edge(masks.float())
    return theirs.sample_utils.get_query_keys(at28, edge, masks.float(), is_novel=novel, percent=percent)


def our_sets(masks: Tensor, is_base: Tensor, cam: Tensor, options: Any) -> tuple[Partition, KeySets]:
    """Partition and key sets with the rule of `min_keys`, as our RoI head makes them."""
    regions, keys = partition(masks, is_base, cam, options), key_sets(masks, is_base, cam, options)
    return regions, keys.only(torch.stack([s.sum(dim=(1, 2)) >= options.min_keys for s in keys.sets()]).all(0))


def spread(found: dict[str, Tensor]) -> KeySets:
    """Their key sets, which hold only the kept RoIs, as KeySets over all RoIs."""
    kept, sets = found["keeps"], {}
    for name, ours in NAMES.items():
        sets[ours] = torch.zeros((len(kept), *found[name].shape[1:]), dtype=torch.bool)
        sets[ours][kept] = found[name].bool()
    return KeySets(**sets)


def one_group(number: int) -> Tensor:
    return torch.zeros(number, dtype=torch.long)


def their_loss(theirs: Released, found: dict[str, Tensor], grid: Tensor) -> Tensor:
    """Their loss of features (R, 28, 28, C) at the keys that they found."""
    kept, means = found["keeps"], []
    for side in ("pos", "neg"):
        region = found[f"query_{side}_sets"]
        means.append(((grid * region[..., None]).sum((1, 2)) / region.sum((1, 2))[:, None])[kept][:, None])
    head_class = theirs.contrastive_head.ContrastiveHead
    head = SimpleNamespace(weight=1.0)
    head.INFOloss = MethodType(head_class.INFOloss, head)
    order = [f"{kind}_{side}_sets_N" for kind in ("easy", "hard") for side in ("positive", "negative")]
    return head_class.loss(head, *(grid[kept][found[name]] for name in order), *means, t_easy=0.3, t_hard=0.7)


# ------------------------------------------------------------------------- comparisons


def edges(theirs: Released, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.random((200, 28, 28)) < rng.uniform(0, 1, (200, 1, 1))
    masks = torch.from_numpy(np.concatenate([shapes(rng, 28), noise]))
    differing = (theirs.edge_utils.seg2edge(masks.float()).bool() != boundary(masks)).sum()
    say("edge map", f"{len(masks)} masks", int(differing), 0)


def cams(theirs: Released, seed: int) -> None:
    """Ours has 1e-6 in the denominator."""
    rng = np.random.default_rng(seed)
    for scale in (1e-1, 1.0, 10.0):
        raw = raw_maps(rng, 64, scale)
        bound = 1e-5 + 5e-6 / float((raw.amax((1, 2)) - raw.amin((1, 2))).min())
        for_mask_head = activation_prior(raw, 14, RELEASED.cam_norm)
        difference = gap(min_max(resize(for_mask_head, 28)), their_cam(theirs, raw)[1])
        say(f"A for the partition, range x {scale:g}", "64 maps", difference, bound)
        difference = gap(for_mask_head, theirs.mask_head.normalize_batch(bilinear(raw, 14))[:, 0])
        say(f"A for the mask head, range x {scale:g}", "64 maps", difference, bound)


def sets(theirs: Released, seed: int) -> None:
    """Partition, key sets and kept RoIs, of base, novel and mixed RoIs."""
    wrong = dict.fromkeys(("kept RoIs", "I+", "I-", *NAMES.values()), 0)
    rois = 0
    for trial in range(9):
        rng = np.random.default_rng([seed, trial])
        masks = torch.from_numpy(shapes(rng, 28))
        novel = torch.from_numpy(rng.random(len(masks)) < (0.5, 0.0, 1.0)[trial % 3])
        at28, cam = their_cam(theirs, raw_maps(rng, len(masks)))
        found = their_keys(theirs, at28, masks, novel, percent=1.0)
        regions, keys = our_sets(masks, ~novel, cam, WHOLE)
        wrong["kept RoIs"] += int((found["keeps"] != keys.fg_easy.flatten(1).any(1)).sum())
        wrong["I+"] += int((found["query_pos_sets"] != regions.foreground).sum())
        wrong["I-"] += int((found["query_neg_sets"] != regions.background).sum())
        for name in NAMES.values():
            wrong[name] += int((getattr(spread(found), name) != getattr(keys, name)).sum())
        rois += len(masks)
    for name, count in wrong.items():
        say(name, f"{rois} RoIs", count, 0)


def counts(theirs: Released, seed: int) -> None:
    """ceil(sigma n): in single precision 32 of 780 sizes have a key more at 0.3, which is not copied."""
    sizes = torch.arange(5, 785)
    flat = torch.arange(784)[None] < sizes[:, None]
    drawn = keys_module.sample(flat.view(-1, 28, 28), 0.3).flatten(1).sum(1)
    more = (0.3 * sizes.float()).ceil().long() - drawn
    say("keys drawn of n pixels: sizes with one more there", "780 sizes", int((more != 0).sum()), 32)
    say("   by", "", int(more.abs().max()), 1)


def losses(theirs: Released, seed: int) -> None:
    """Their loss of given features and keys and its gradient, in double precision."""
    worst = [0.0, 0.0]
    for trial in range(12):
        rng = np.random.default_rng([seed, trial])
        masks = torch.from_numpy(rng.permutation(shapes(rng, 28))[: 4 * (2, 3, 6, 12)[trial % 4]])
        novel = torch.from_numpy(rng.random(len(masks)) < (0.5, 0.0, 0.3)[trial % 3])
        at28, cam = their_cam(theirs, raw_maps(rng, len(masks)))
        if not our_sets(masks, ~novel, cam, RELEASED)[1].fg_easy.any():
            continue
        found = their_keys(theirs, at28, masks, novel, percent=0.3)
        noise = rng.normal(size=(len(masks), 784, 32)) + rng.normal(size=(len(masks), 784, 1))
        z = torch.tensor(noise).requires_grad_()
        ref = their_loss(theirs, found, z.view(-1, 28, 28, 32))
        regions = Partition(found["query_pos_sets"], found["query_neg_sets"])
        mine = contrastive_loss(z, regions, spread(found), one_group(len(z)), WHOLE) * contrastive_weight(0.9, RELEASED)
        gradients = [torch.autograd.grad(loss, z)[0] for loss in (mine, ref)]
        worst = [max(worst[0], gap(mine, ref)), max(worst[1], relative(*gradients))]
    say("contrastive loss of given features and keys", "12 cases", worst[0], 1e-9)
    say("   its gradient (relative)", "12 cases", worst[1], 1e-6)


def degenerate(theirs: Released, seed: int) -> None:
    """No RoI keeps keys: theirs raises, ours is 0 with a gradient."""
    masks = torch.zeros(2, 28, 28, dtype=torch.bool)
    masks[:, 14, 14] = True
    at28, cam = their_cam(theirs, raw_maps(np.random.default_rng(seed), 2))
    novel = torch.zeros(2, dtype=torch.bool)
    try:
        with redirect_stdout(None):  # it prints where it stands
            their_keys(theirs, at28, masks, novel, percent=0.3)
        text = "returns"
    except Exception as error:
        text = f"raises {type(error).__name__}"
    z = torch.randn(2, 784, 8, requires_grad=True)
    mine = contrastive_loss(z, *our_sets(masks, ~novel, cam, RELEASED), one_group(2), RELEASED)
    mine.backward()
    difference = float(mine.detach()) + gap(z.grad, torch.zeros_like(z))
    say(f"no RoI has keys: theirs {text}; our loss and gradient", "2 RoIs", difference, 0)


def warm_up(theirs: Released, seed: int) -> None:
    hook = theirs.tensorboard_utils.SelfTensorboardLoggerHook(contr_upper_ep=4.0, contr_start_ep=0.0, init_value=0.25)
    head = SimpleNamespace(weight=0.0)
    model: Any = head
    for name in ("contrastive_head", "mask_head", "roi_head", "module"):
        model = SimpleNamespace(**{name: model})
    worst = 0.0
    for epoch in range(12):
        hook.before_epoch(SimpleNamespace(log_buffer=SimpleNamespace(clear=lambda: None), epoch=epoch, model=model))
        worst = max(worst, abs(contrastive_weight((epoch + 0.5) / 12, RELEASED) - 0.1 * head.weight))
    say("lambda x 0.1", "12 epochs", worst, 1e-9)
