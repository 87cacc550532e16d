"""What holds for every system: it learns masks from base categories only, survives hard images, and gives masks."""

import copy

import pytest
import torch
import torch.nn.functional as F
from models import tiny
from models.tiny import A, B, C, D, Object
from torch import Tensor, nn

from contrastmask.config.options import METHODS, SystemOptions
from contrastmask.models.common.mask_batch import MaskBatch

SYSTEMS = {
    "mask-rcnn": ("mask-rcnn", "paper", {}),
    "contrastmask": ("contrastmask", "paper", {}),
    "contrastmask-official": ("contrastmask", "official", {}),
    "contrastmask-hourglass": ("contrastmask", "paper", {"mask_head": "hourglass-52", "mask_rois": "gt"}),
    "maskx-rcnn": ("maskx-rcnn", "paper", {}),
    "opmask": ("opmask", "paper", {}),
    "deep-marc": ("deep-marc", "paper", {}),
    "shapeprop": ("shapeprop", "both", {}),
    "shapeprop-gt": ("shapeprop", "paper", {"mask_rois": "gt"}),
    "cpmask": ("cpmask", "both", {}),
    "shapemask": ("shapemask", "paper", {}),
    "shapemask-nas-fpn": ("shapemask", "paper", {"neck": "nas-fpn"}),
}
ONE_STAGE = ("cpmask", "shapemask", "shapemask-nas-fpn")
MASK_LOSSES = {"loss_mask", "loss_propagation", "loss_boundary", "loss_affinity", "loss_prior", "loss_coarse"}
TINY = Object((10, 10, 11, 11), 1), Object((95, 95, 96, 96), 3), Object((0, 0, 1, 1), 0)
HARD = {
    "base and novel objects": tiny.make_batch(),
    "no base object": tiny.make_batch(((B,), (D,))),
    "no novel object": tiny.make_batch(((A,), (C,))),
    "no objects": tiny.make_batch(((), ())),
    "one image without objects": tiny.make_batch(((A, B), ())),
    "one base object": tiny.make_batch(((A,), (B,)), jitter=0),
    "crowds only": tiny.make_batch(((), ()), ignored=(A, B)),
    "one-pixel boxes": tiny.make_batch((TINY, (Object((95, 0, 96, 1), 3), Object((40, 0, 41, 96), 1))), jitter=0),
}
every_system = pytest.mark.parametrize("system", SYSTEMS)
two_stage = pytest.mark.parametrize("system", [name for name in SYSTEMS if name not in ONE_STAGE])


def build(system: str) -> nn.Module:
    """A copy of its own: BatchNorm over RoIs keeps statistics."""
    method, preset, options = SYSTEMS[system]
    return copy.deepcopy(tiny.build(method, preset, **options))


def losses_of(system: str, net: nn.Module, batch: tiny.Batch) -> dict[str, Tensor]:
    """All that is trained, on the batch's proposals where the system takes some."""
    found = (tiny.detector_losses if system in ONE_STAGE else tiny.roi_losses)(net, fitting(system, batch))
    return {name: loss for name, loss in found.items() if "loss" in name}


def fitting(system: str, batch: tiny.Batch) -> tiny.Batch:
    """Padded to sides that 128 divides, for NAS-FPN."""
    batch = batch.fresh()
    if system == "shapemask-nas-fpn":
        batch.inputs = F.pad(batch.inputs, (0, 128 - tiny.SIZE, 0, 128 - tiny.SIZE))
    return batch


def test_every_system_is_here() -> None:
    assert {method for method, _, _ in SYSTEMS.values()} == {
        name for name, options in METHODS.items() if issubclass(options, SystemOptions)
    }


# ---------------------------------------------------------------- training


@every_system
@pytest.mark.parametrize("name", HARD)
def test_losses_are_finite_and_every_parameter_has_a_gradient(system: str, name: str) -> None:
    """A parameter without a gradient would stop a distributed training."""
    net, batch = build(system), fitting(system, HARD[name])
    head = net.roi_head.mask_head
    before = {n: b.clone() for n, b in head.named_buffers()}
    losses = tiny.detector_losses(net, batch)
    sum(loss for n, loss in losses.items() if "loss" in n).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert not [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert all(torch.isfinite(b).all() for b in net.buffers())
    labels = {label for sample in batch.samples for label in sample.gt_instances.labels.tolist()}
    if not labels & set(tiny.BASE):
        assert all(float(loss.detach()) == 0 for n, loss in losses.items() if n in MASK_LOSSES)
        assert set(tiny.grads(head).values()) == {0.0}
    if not labels:
        assert all(b.equal(before[n]) for n, b in head.named_buffers()), "statistics stay"


@every_system
def test_novel_masks_change_no_loss_and_no_gradient_by_a_bit_and_base_masks_do(system: str) -> None:
    losses, gradients = [], []
    for scrambled in ((), tiny.NOVEL, tiny.BASE):
        net = build(system)
        losses.append(tiny.detector_losses(net, fitting(system, tiny.make_batch(scrambled=scrambled))))
        sum(loss for name, loss in losses[-1].items() if "loss" in name).backward()
        gradients.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    plain, novel, base = losses
    assert plain.keys() == novel.keys() and plain.keys() & MASK_LOSSES
    assert all(plain[name].equal(novel[name]) for name in plain)
    assert all(gradients[0][name].equal(gradients[1][name]) for name in gradients[0])
    reached = {name for name in plain if not plain[name].equal(base[name])}
    assert reached - {"loss_contrast"} == plain.keys() & MASK_LOSSES


@two_stage
def test_mask_loss_is_the_cross_entropy_of_base_rois_with_their_own_masks(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all positives, or of those that are ground-truth boxes; novel ones only give BatchNorm their statistics."""
    if system == "deep-marc":
        pytest.skip("other RoIs and targets: its own test")
    net, batch = tiny.moved(build(system)), tiny.make_batch(jitter=3)  # OPMask's logits start near 0
    head = net.roi_head
    results, truth = tiny.sampling(net, batch)
    chosen = torch.isin(torch.cat([r.pos_gt_labels for r in results]), torch.tensor(tiny.BASE))
    if head.options.mask_rois == "gt":
        chosen &= torch.cat([r.pos_is_gt for r in results]).bool()
    assert 1 < int(chosen.sum()) < len(chosen)
    monkeypatch.setattr(head.mask_head, "forward", seen := tiny.Spy(head.mask_head.forward))
    loss = tiny.roi_losses(net, batch)["loss_mask"]
    assert len(seen.result) == (len(chosen) if head.sees_novel else int(chosen.sum()))
    logits = seen.result[chosen if head.sees_novel else slice(None), 0].double()
    targets = MaskBatch(results, truth, chosen, chosen).targets(logits.shape[-1]).double()
    expected = F.binary_cross_entropy_with_logits(logits, targets)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


@pytest.mark.parametrize("system", ["contrastmask-hourglass", "opmask", "deep-marc", "shapeprop", "cpmask"])
def test_some_steps_on_one_batch_lower_every_loss(system: str) -> None:
    net, batch, curve = build(system), tiny.make_batch(jitter=3), []
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for _ in range(20):
        losses = losses_of(system, net, batch)
        curve.append({name: float(loss.detach()) for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10)
        optimizer.step()
    for name in curve[0].keys() & (MASK_LOSSES | {"loss_cls", "loss_saliency"}):
        assert curve[-1][name] < 0.85 * curve[0][name], (name, curve)


@every_system
def test_autocast_keeps_losses_and_roi_align_in_fp32(system: str) -> None:
    net, types = build(system), set()
    exact = losses_of(system, net, tiny.make_batch())
    for module in net.modules():
        if type(module).__name__ == "RoIAlign":
            module.register_forward_pre_hook(lambda module, args: types.update(a.dtype for a in args))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses_of(system, net, tiny.make_batch())
    sum(mixed.values()).backward()
    assert types == {torch.float32}
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    for name in exact.keys() & (MASK_LOSSES | {"loss_saliency"}):
        assert mixed[name].dtype == torch.float32
        assert float(mixed[name].detach()) == pytest.approx(float(exact[name].detach()), rel=0.1, abs=0.02)


@two_stage
def test_training_and_test_see_the_same_mask_of_the_same_box(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = build(system).eval(), tiny.make_batch()
    batch.proposals = [found[:0] for found in batch.proposals]  # ground truth is all that is sampled
    monkeypatch.setattr(net.roi_head.mask_head, "forward", seen := tiny.Spy(net.roi_head.mask_head.forward))
    truth = [sample.gt_instances for sample in batch.samples]
    with torch.no_grad():
        tiny.roi_losses(net, batch)
        trained = seen.result
        if len(trained) < 4:  # of base objects alone
            truth = [t[torch.isin(t.labels, torch.tensor(tiny.BASE))] for t in truth]
        metas = [dict(sample.metainfo) for sample in batch.samples]
        features = net.extract_feat(batch.inputs)
        net.roi_head.predict_masks_in_boxes(features, metas, [t.bboxes for t in truth], [t.labels for t in truth])
    assert len(trained) == sum(map(len, truth)) > 1
    torch.testing.assert_close(trained, seen.result, rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------- test


@every_system
def test_masks_in_boxes_have_the_original_size_and_fill_their_box(system: str) -> None:
    if system == "shapemask-nas-fpn":
        pytest.skip("takes padded images only; its masks are shapemask's")
    net, side = build(system).eval(), 2 * tiny.SIZE
    given = torch.tensor([[10.0, 12, 40, 30], [50, 50, 90, 80]])
    boxes, labels = [given.clone(), torch.zeros(0, 4)], [torch.tensor([1, 0]), torch.zeros(0, dtype=torch.long)]
    last = getattr(net.roi_head.mask_head, "conv_logits", None)
    if isinstance(last, nn.Conv2d):
        last.bias.data.fill_(1e4)  # every logit is positive
    found = tiny.boxes_at_test(net, boxes, labels)
    assert [r.masks.shape for r in found] == [(2, side, side), (0, side, side)]
    assert [r.masks.shape for r in tiny.boxes_at_test(net, boxes[1:] * 2, labels[1:] * 2)] == [(0, side, side)] * 2
    assert boxes[0].equal(given), "the caller's boxes are left alone"
    if system in ("maskx-rcnn", "shapemask"):  # no such layer; a larger box: their own tests
        return
    for mask, (x1, y1, x2, y2) in zip(found[0].masks, (2 * given).int().tolist(), strict=True):
        assert mask[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].all()
        mask[max(y1 - 4, 0) : y2 + 4, max(x1 - 4, 0) : x2 + 4] = False
        assert not mask.any()


@every_system
def test_detections_have_masks(system: str) -> None:
    net, batch = build(system).eval(), fitting(system, tiny.make_batch())
    with torch.no_grad():
        found = net.predict(batch.inputs, batch.samples, rescale=True)
        boxes = net.bbox_head.predict(net.extract_feat(batch.inputs), batch.samples) if system in ONE_STAGE else []
    found = [sample.pred_instances for sample in found]
    for instances in found:
        assert 0 < len(instances) <= 50
        assert instances.masks.shape == (len(instances), tiny.SIZE, tiny.SIZE) and instances.masks.dtype == torch.bool
    for instances, expected in zip(found, boxes, strict=False):
        assert all(instances[key].equal(expected[key]) for key in ("bboxes", "scores", "labels"))


@two_stage
@pytest.mark.parametrize("empty", [(0,), (0, 1)])
def test_prediction_survives_images_without_proposals(system: str, empty: tuple[int, ...]) -> None:
    net, batch = build(system).eval(), tiny.make_batch()
    batch.proposals = [p[:0] if n in empty else p for n, p in enumerate(batch.proposals)]
    with torch.no_grad():
        found = net.roi_head.predict(net.extract_feat(batch.inputs), batch.proposals, batch.samples, rescale=True)
    assert [len(r.masks) > 0 for r in found] == [n not in empty for n in (0, 1)]
