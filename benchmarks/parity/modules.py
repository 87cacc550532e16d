"""The released modules beside this project's preset `official`, on the same random and degenerate inputs."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.parity import released
from benchmarks.parity.cases import (
    RELEASED,
    WHOLE,
    ConfigDict,
    gap,
    pyramid,
    raw_maps,
    relative,
    roi_head,
    sampling,
    say,
    scene,
    shapes,
)
from contrastmask.models.common import cam as cam_module
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


def bilinear(maps: Tensor, size: int) -> Tensor:
    return F.interpolate(maps[:, None], size=(size, size), mode="bilinear", align_corners=False)


def their_cam(theirs: Any, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Un-normalised 28 px maps as their mask head hands them to their contrastive head, and after normalisation."""
    at28 = bilinear(bilinear(raw, 14)[:, 0], 28)
    return at28, theirs.sample_utils.normalize_zero_to_one(at28[:, 0])


def our_cam(raw: Tensor) -> Tensor:
    """A as our contrastive loss sees it."""
    return min_max(resize(activation_prior(raw, 14, RELEASED.cam_norm), 28))


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


# ---------------------------------------------------------------------------- functions


def edges(theirs: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = torch.from_numpy(
        np.concatenate([shapes(rng, 28), rng.random((200, 28, 28)) < rng.uniform(0, 1, (200, 1, 1))])
    )
    differing = (theirs.edge_utils.seg2edge(masks.float()).bool() != boundary(masks)).sum()
    say("edge map", f"{len(masks)} masks", int(differing), 0)


def cams(theirs: Any, seed: int) -> None:
    """Ours has 1e-6 in the denominator."""
    rng = np.random.default_rng(seed)
    for scale in (1e-1, 1.0, 10.0):
        raw = raw_maps(rng, 64, scale)
        bound = 1e-5 + 5e-6 / float((raw.amax((1, 2)) - raw.amin((1, 2))).min())
        say(f"A for the partition, range x {scale:g}", "64 maps", gap(our_cam(raw), their_cam(theirs, raw)[1]), bound)
        a = theirs.mask_head.normalize_batch(bilinear(raw, 14))[:, 0]
        say(
            f"A for the mask head, range x {scale:g}",
            "64 maps",
            gap(activation_prior(raw, 14, "resize_first"), a),
            bound,
        )


def sets(theirs: Any, seed: int) -> None:
    """Partition, key sets and kept RoIs, of base, novel and mixed RoIs."""
    wrong = dict.fromkeys(("kept RoIs", "I+", "I-", *NAMES.values()), 0)
    rois = 0
    for trial in range(9):
        rng = np.random.default_rng([seed, trial])
        masks = torch.from_numpy(shapes(rng, 28))
        novel = torch.from_numpy(rng.random(len(masks)) < (0.5, 0.0, 1.0)[trial % 3])
        at28, cam = their_cam(theirs, raw_maps(rng, len(masks)))
        edge = theirs.edge_utils.seg2edge(masks.float())
        found = theirs.sample_utils.get_query_keys(at28, edge, masks.float(), is_novel=novel, percent=1.0)
        regions, keys = our_sets(masks, ~novel, cam, WHOLE)
        wrong["kept RoIs"] += int((found["keeps"] != keys.fg_easy.flatten(1).any(1)).sum())
        wrong["I+"] += int((found["query_pos_sets"] != regions.foreground).sum())
        wrong["I-"] += int((found["query_neg_sets"] != regions.background).sum())
        for name in NAMES.values():
            wrong[name] += int((getattr(spread(found), name) != getattr(keys, name)).sum())
        rois += len(masks)
    for name, count in wrong.items():
        say(name, f"{rois} RoIs", count, 0)


def counts(theirs: Any, seed: int) -> None:
    """ceil(sigma n): in single precision 32 of 780 sizes have a key more at 0.3, which is not copied."""
    sizes = torch.arange(5, 785)
    flat = torch.arange(784)[None] < sizes[:, None]
    drawn = keys_module.sample(flat.view(-1, 28, 28), 0.3).flatten(1).sum(1)
    more = (0.3 * sizes.float()).ceil().long() - drawn
    say("keys drawn of n pixels: sizes with one more there", "780 sizes", int((more != 0).sum()), 32)
    say("   by", "", int(more.abs().max()), 1)


def losses(theirs: Any, seed: int) -> None:
    """Their loss of given features and keys and its gradient, in double precision."""
    worst = [0.0, 0.0]
    for trial in range(12):
        rng = np.random.default_rng([seed, trial])
        masks = torch.from_numpy(rng.permutation(shapes(rng, 28))[: 4 * (2, 3, 6, 12)[trial % 4]])
        novel = torch.from_numpy(rng.random(len(masks)) < (0.5, 0.0, 0.3)[trial % 3])
        at28, cam = their_cam(theirs, raw_maps(rng, len(masks)))
        if not our_sets(masks, ~novel, cam, RELEASED)[1].fg_easy.any():
            continue
        edge = theirs.edge_utils.seg2edge(masks.float())
        found = theirs.sample_utils.get_query_keys(at28, edge, masks.float(), is_novel=novel, percent=0.3)
        z = torch.tensor(
            rng.normal(size=(len(masks), 784, 32)) + rng.normal(size=(len(masks), 784, 1))
        ).requires_grad_()
        ref = their_loss(theirs, found, z.view(-1, 28, 28, 32))
        regions = Partition(found["query_pos_sets"], found["query_neg_sets"])
        mine = contrastive_loss(z, regions, spread(found), one_group(len(z)), WHOLE) * contrastive_weight(0.9, RELEASED)
        gradients = [torch.autograd.grad(loss, z)[0] for loss in (mine, ref)]
        worst = [max(worst[0], gap(mine, ref)), max(worst[1], relative(*gradients))]
    say("contrastive loss of given features and keys", "12 cases", worst[0], 1e-9)
    say("   its gradient (relative)", "12 cases", worst[1], 1e-6)


def their_loss(theirs: Any, found: dict[str, Tensor], grid: Tensor) -> Tensor:
    kept, means = found["keeps"], []
    for side in ("pos", "neg"):
        region = found[f"query_{side}_sets"]
        means.append(((grid * region[..., None]).sum((1, 2)) / region.sum((1, 2))[:, None])[kept][:, None])
    kind = theirs.contrastive_head.ContrastiveHead
    head = SimpleNamespace(weight=1.0)
    head.INFOloss = MethodType(kind.INFOloss, head)
    order = [f"{kind}_{side}_sets_N" for kind in ("easy", "hard") for side in ("positive", "negative")]
    return kind.loss(head, *(grid[kept][found[name]] for name in order), *means, t_easy=0.3, t_hard=0.7)


def degenerate(theirs: Any, seed: int) -> None:
    """No RoI keeps keys: theirs raises, ours is 0 with a gradient."""
    mask = torch.zeros(2, 28, 28)
    mask[:, 14, 14] = 1
    at28, cam = their_cam(theirs, raw_maps(np.random.default_rng(seed), 2))
    novel = torch.zeros(2, dtype=torch.bool)
    try:
        with redirect_stdout(None):  # it prints where it stands
            theirs.sample_utils.get_query_keys(at28, theirs.edge_utils.seg2edge(mask), mask, is_novel=novel)
        text = "returns"
    except Exception as error:
        text = f"raises {type(error).__name__}"
    z = torch.randn(2, 784, 8, requires_grad=True)
    mine = contrastive_loss(z, *our_sets(mask.bool(), ~novel, cam, RELEASED), one_group(2), RELEASED)
    mine.backward()
    say(
        f"no RoI has keys: theirs {text}; our loss and gradient",
        "2 RoIs",
        float(mine.detach()) + gap(z.grad, torch.zeros_like(z)),
        0,
    )


def warm_up(theirs: Any, seed: int) -> None:
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


# ---------------------------------------------------------------------------- modules


def their_roi_head(theirs: Any, ours: Any) -> Any:
    """Their RoI head with our weights: their heads, mmdet's extractors."""
    contrastive = dict(
        type="ContrastiveHead",
        num_convs=8,
        num_projectfc=3,
        thred_u=0.1,
        scale_u=1.0,
        percent=0.3,
        fc_norm_cfg=dict(type="BN"),
    )
    mask_head = theirs.mask_head.FCNMaskCamHead(
        num_convs=4, in_channels=256, conv_out_channels=256, num_classes=80, class_agnostic=True,
        loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        contrastive_head=contrastive, contrastive_enable=True,
    )  # fmt: skip
    box_head = theirs.bbox_head.Shared2FCBBoxWithCAMHead(
        in_channels=256, fc_out_channels=1024, roi_feat_size=7, num_classes=80, with_avg_pool=True,
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
        reg_class_agnostic=False,
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    )  # fmt: skip
    cls = theirs.roi_head.StandardRoIHeadPS
    head = SimpleNamespace(
        mask_head=mask_head, bbox_head=box_head, mask_roi_extractor=ours.mask_roi_extractor,
        bbox_roi_extractor=ours.bbox_roi_extractor, contrastive_roi_extractor=ours._resized_extractor(
            dict(type="SingleRoIExtractor", roi_layer=dict(type="RoIAlign", output_size=28, sampling_ratio=0),
                 out_channels=256, featmap_strides=[4, 8, 16, 32]), 28),
        with_shared_head=False, share_roi_extractor=False, train_cfg=ours.train_cfg, test_cfg=ours.test_cfg,
    )  # fmt: skip
    paths = ("_mask_forward_train", "_mask_forward", "_bbox_forward_train", "_bbox_forward")
    for name in (*paths, "simple_test_bboxes", "simple_test_mask"):
        setattr(head, name, MethodType(getattr(cls, name), head))
    return head


def pairs(theirs: Any, ours: Any) -> list[tuple[str, nn.Parameter, nn.Parameter]]:
    """(name, their parameter, ours) of every parameter."""
    box = dict(ours.bbox_head.named_parameters())
    found = [(f"bbox_head.{n}", p, box[n]) for n, p in theirs.bbox_head.named_parameters()]
    mine = dict(ours.mask_head.named_parameters())
    cl = dict(ours.cl_head.named_parameters())
    for n, p in theirs.mask_head.named_parameters():
        if n.startswith("fuseconv"):
            found.append((n, p, mine[n.replace("fuseconv", "fuse.conv")]))
        elif n.startswith("contrastive_head.encoder"):
            found.append((n, p, cl[n.removeprefix("contrastive_head.")]))
        elif n.startswith("contrastive_head.projector"):
            number, rest = n.removeprefix("contrastive_head.projector.").split(".", 1)
            name = {
                "conv.weight": f"projector.hidden.{number}.weight",
                "bn.weight": f"projector.norms.{number}.weight",
                "bn.bias": f"projector.norms.{number}.bias",
                "weight": "projector.last.weight",
                "bias": "projector.last.bias",
            }[rest]
            found.append((n, p, cl[name]))
        else:
            found.append((n, p, mine[n]))
    return found


def copy_weights(theirs: Any, ours: Any) -> None:
    """Ours into theirs; biases made different from 0 first, so that they count."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if parameter.ndim == 1 and "hidden" not in name:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        ours.bbox_head.fc_cls.weight.normal_(0, 0.05, generator=generator)  # so that the CAM has contrast
        for _, a, b in pairs(theirs, ours):
            a.copy_(b.reshape(a.shape))


def initial(head: Any, ours: Any) -> None:
    """First weights, before any is copied: the spread of each parameter."""
    head.bbox_head.init_weights()
    head.mask_head.init_weights()
    worst = 0.0
    for _, a, b in pairs(head, ours):
        one, two = (float(p.detach().std(unbiased=False)) for p in (a, b))
        worst = max(worst, abs(one - two) / max(one, 1e-3))
    say("spread of first weights (relative)", f"{len(pairs(head, ours))} parameters", worst, 0.15)


def cl_forward(theirs: Any, head: Any, ours: Any, seed: int) -> None:
    """Encoder, projector with BatchNorm in training, self-affinity."""
    torch.manual_seed(seed)
    x, cl = torch.randn(3, 256, 28, 28), head.mask_head.contrastive_head
    kept: dict[str, Tensor] = {}
    hooks = [
        cl.projector[-1].register_forward_hook(lambda m, i, o: kept.update(z=o)),
        cl.encoder[-1].register_forward_hook(lambda m, i, o: kept.update(e=o)),
    ]
    masks = torch.zeros(3, 28, 28)
    masks[:, 6:20, 8:22] = 1
    with torch.no_grad():
        edge = theirs.edge_utils.seg2edge(masks)
        y, _ = cl(x, torch.rand(3, 1, 28, 28), edge, masks, torch.tensor([False, True, False]))
        encoded = ours.cl_head.encode(x)
        z, mine = ours.cl_head.project(encoded, [3]), ours.cl_head.mask_features(encoded)
    for hook in hooks:
        hook.remove()
    say("encoder", "3 RoIs", relative(encoded, kept["e"]), 1e-5)
    say("projector", "3 RoIs", relative(z.reshape(-1, 256), kept["z"]), 1e-5)
    say("Y", "3 RoIs", relative(mine, y), 1e-5)


@contextmanager
def double_precision(*modules: nn.Module) -> Iterator[None]:
    """Modules in double precision, and our 1e-6 in the min-max taken out."""
    kept, eps = torch.Tensor.float, cam_module.EPS
    cam_module.EPS = 0
    for module in modules:
        module.double()
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.float, cam_module.EPS = kept, eps  # type: ignore[method-assign]
        for module in modules:
            module.float()


def training(theirs: Any, head: Any, ours: Any, kinds: list[str], seed: int) -> None:
    """One training pass of both RoI heads in double precision, with their draw of keys: every loss and gradient."""
    with double_precision(head.mask_head, head.bbox_head, ours):
        samples, proposals = scene(kinds, seed, torch.float64)
        found = sampling(ours, samples, proposals, seed)
        x_theirs, x_ours = (pyramid(len(kinds), seed, torch.float64) for _ in range(2))
        head.mask_head.contrastive_head.weight = 10 * contrastive_weight(ours.progress, RELEASED)
        out, drawn = their_pass(theirs, head, found, samples, x_theirs, seed)
        real = KeySets.sample
        KeySets.sample = lambda self, sigma: spread(drawn)  # type: ignore[method-assign]
        try:
            seen = ours.bbox_loss(x_ours, found)
            mine = seen["loss_bbox"] | ours.mask_losses(x_ours, ours.mask_batch(found, samples, seen))
        finally:
            KeySets.sample = real  # type: ignore[method-assign]
        for name, loss in out.items():
            say(f"[{'+'.join(kinds)}] {name}", "", gap(mine[name], loss), 1e-8)
        table = pairs(head, ours)
        sides = ((out, [p for _, p, _ in table], x_theirs), (mine, [p for *_, p in table], x_ours))
        left, right = (
            torch.autograd.grad(
                sum((losses[n].sum() for n in out), torch.zeros(())), [*parameters, *x], allow_unused=True
            )
            for losses, parameters, x in sides
        )
        worst = max(
            relative(b.reshape(a.shape), a) for a, b in zip(left, right, strict=True) if a is not None and b is not None
        )
        say(f"[{'+'.join(kinds)}] gradient (relative)", f"{len(table)} parameters, P2-P6", worst, 1e-6)


def their_pass(
    theirs: Any, head: Any, found: list, samples: list, x: tuple[Tensor, ...], seed: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Their losses under our names, and the keys that they drew."""
    instances = [s.gt_instances for s in samples]
    head.mask_head.contrastive_head.percent = 0.3
    box = head._bbox_forward_train(x, found, [i.bboxes for i in instances], [i.labels for i in instances], None)
    # their row numbers assume 512 RoIs an image: give them that
    parts = box["bbox_cam"].split([len(r.priors) for r in found])
    cam = torch.cat([F.pad(part, (0, 0, 0, 0, 0, 0, 0, 512 - len(part))) for part in parts])
    metas = [{"ann_info": {"is_novel": (i.labels < 40).long().numpy(), "labels": i.labels.numpy()}} for i in instances]
    module, drawn = theirs.contrastive_head, {}
    real = module.get_query_keys

    def catch(*args: Any, **kwargs: Any) -> Any:
        drawn.update(real(*args, **kwargs))
        return drawn

    module.get_query_keys = catch
    random.seed(seed)
    try:
        with released.no_cuda():
            masks = [i.masks for i in instances]
            out = head._mask_forward_train(x, found, box["bbox_feats"], cam, masks, metas)["loss_mask"]
    finally:
        module.get_query_keys = real
    boxes = {name: box["loss_bbox"][name] for name in ("loss_cls", "loss_bbox")}
    return boxes | {"loss_mask": out["loss_mask"], "loss_contrast": out["loss_contrastive"]}, drawn


def at_test(head: Any, ours: Any, x: Any, proposals: list, side: tuple[int, int], what: str) -> None:
    """The path at test, from proposals to pasted masks, of images of `side` (H, W) pixels."""
    for part in (head.mask_head, head.bbox_head, ours):
        part.eval()
    head.test_cfg = ours.test_cfg = ConfigDict(
        dict(ours.test_cfg, score_thr=0.014, max_per_img=8)
    )  # random weights are never sure
    factor, small = np.array([1.25, 1.28, 1.25, 1.28], np.float32), (round(side[0] / 1.28), round(side[1] / 1.25))
    metas = [dict(img_shape=(*side, 3), ori_shape=(*small, 3), scale_factor=factor) for _ in proposals]
    our_metas = [dict(m, img_shape=side, ori_shape=small, scale_factor=tuple(factor[:2])) for m in metas]
    with torch.no_grad():
        given = [p.bboxes for p in proposals]
        boxes, labels, cam = head.simple_test_bboxes(x, metas, given, head.test_cfg, rescale=True)
        by_class = head.simple_test_mask(x, metas, boxes, labels, cam, rescale=True)
        mine = ours.predict_bbox(x, our_metas, copy.deepcopy(proposals), ours.test_cfg, rescale=False)
        masks = ours.predict_mask(x, our_metas, copy.deepcopy(mine), rescale=True)
    number, scale = f"{sum(map(len, boxes))} detections", torch.from_numpy(factor)
    say(f"{what}: boxes", number, max(gap(b[:, :4] * scale, m.bboxes) for b, m in zip(boxes, mine, strict=True)), 1e-3)
    say(f"{what}: scores", number, max(gap(b[:, 4], m.scores) for b, m in zip(boxes, mine, strict=True)), 1e-6)
    say(f"{what}: labels", number, sum(int((a != m.labels).sum()) for a, m in zip(labels, mine, strict=True)), 0)
    wrong = pixels = 0
    for per_class, result in zip(by_class, masks, strict=True):
        taken = [0] * 80
        for label, mask in zip(result.labels.tolist(), result.masks, strict=True):
            other = torch.from_numpy(per_class[label][taken[label]])
            taken[label] += 1
            wrong, pixels = wrong + int((other != mask).sum()), pixels + int(other.sum())
    say(f"{what}: pixels of pasted masks", f"{pixels} mask pixels", wrong, pixels // 5000)


def compare(theirs: Any, seed: int) -> None:
    """Every comparison of functions and modules."""
    for part in (edges, cams, sets, counts, losses, degenerate, warm_up):
        part(theirs, seed)
    ours = roi_head(seed)
    head = their_roi_head(theirs, ours)
    initial(head, ours)
    copy_weights(head, ours)
    cl_forward(theirs, head, ours, seed)
    for kinds in (["bn", "nb"], ["nn", "n"], ["bb", "b"]):
        training(theirs, head, ours, kinds, seed + 11)
    x, proposals = [level.detach() for level in pyramid(2, seed + 2)], scene(["bnb", "nb"], seed + 2)[1]
    at_test(head, ours, x, proposals, (320, 320), "test")
