"""MaskX R-CNN: the transfer against the box head's rows, the MLP, gating, and what a training step changes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from models.tiny import (
    BASE,
    DATASET,
    NOVEL,
    SIZE,
    A,
    B,
    C,
    D,
    detector_losses,
    grads,
    make_batch,
    roi_losses,
    sampling,
    tiny_config,
    tiny_model,
)
from torch import Tensor, nn

from contrastmask.config import CONFIGS, load_settings, resolve, run_spec
from contrastmask.config.options import preset_options
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.models.common.partial_roi_head import MaskBatch
from contrastmask.models.peers.maskx import class_descriptors
from contrastmask.training.build import build_model

K = len(DATASET["categories"])
HARD = {
    "no base object": make_batch(((B,), (D,))),
    "no objects": make_batch(((), ())),
    "one image without objects": make_batch(((A, B), ())),
    "crowds only": make_batch(((), ()), ignored=(A, B)),
}


def model(**options: bool | str) -> nn.Module:
    return tiny_model("maskx-rcnn", **options)


def paper_config(backbone: str = "r50", **options: str) -> dict:
    config = read_yaml(CONFIGS / "config.yaml", "config") | {"scale": "paper", "data_root": "/d"}
    entry = {"method": "maskx-rcnn", "backbone": backbone, "schedule": "1x", "setting": "nonvoc2voc"}
    return resolve(run_spec(entry | {"options": options}, "paper"), load_settings(config))


def naive_kernels(head: nn.Module) -> Tensor:
    """(K, C), one class at a time, from numbered rows and plain algebra."""
    first, _, last = head.mask_head.transfer
    rows = []
    for k in range(K):
        boxes = [head.bbox_head.fc_reg.weight[4 * k + i] for i in range(4)]
        hidden = first.weight @ torch.cat([head.bbox_head.fc_cls.weight[k], *boxes]) + first.bias
        rows.append(last.weight @ torch.where(hidden > 0, hidden, 0.1 * hidden) + last.bias)
    return torch.stack(rows)


# ---------------------------------------------------------------------------- transfer


def test_kernels_are_the_mlp_of_the_box_heads_rows() -> None:
    head = model().roi_head
    assert head.bbox_head.fc_cls.weight.shape[0] == K + 1 and head.bbox_head.fc_reg.weight.shape[0] == 4 * K
    kernels = head.mask_head.transfer(class_descriptors(head.bbox_head))
    assert torch.allclose(kernels, naive_kernels(head), atol=1e-6)
    assert kernels.std() > 1e-4


def test_the_backgrounds_row_and_other_classes_rows_do_not_enter_a_descriptor() -> None:
    box_head = copy.deepcopy(model().roi_head.bbox_head)
    before = class_descriptors(box_head).detach().clone()
    with torch.no_grad():
        box_head.fc_cls.weight[K] += 1
        assert class_descriptors(box_head).equal(before)
        box_head.fc_cls.weight[1] += 1
        box_head.fc_reg.weight[4 * 2 : 4 * 3] += 1
    changed = (class_descriptors(box_head) != before).any(1)
    assert changed.tolist() == [False, True, True, False]


def naive_maps(head: nn.Module, x: Tensor) -> Tensor:
    """All K maps of each RoI (R, K, 28, 28): convolution with every kernel, plus the MLP's map on each."""
    mask_head = head.mask_head
    for conv in mask_head.convs:
        x = conv(x)
    x = F.relu(mask_head.upsample(x))
    maps = F.conv2d(x, naive_kernels(head)[:, :, None, None])
    if mask_head.mlp is None:
        return maps
    return maps + F.linear(x.reshape(len(x), -1), mask_head.mlp.weight, mask_head.mlp.bias).reshape(-1, 1, 28, 28)


@pytest.mark.parametrize("mlp", [True, False])
def test_each_rois_map_is_its_class_channel_of_all_maps(mlp: bool) -> None:
    head = model(mlp=mlp).roi_head
    x, labels = torch.randn(5, 32, 14, 14), torch.tensor([3, 0, 2, 2, 1])
    with torch.no_grad():
        found = head.mask_head(x, labels, class_descriptors(head.bbox_head))
        expected = naive_maps(head, x)[torch.arange(5), labels]
    assert found.shape == (5, 1, 28, 28)
    assert torch.allclose(found[:, 0], expected, atol=1e-5)


def test_the_mlp_adds_one_map_to_every_class() -> None:
    head = model().roi_head
    without = copy.copy(head.mask_head)
    without._modules = head.mask_head._modules | {"mlp": None}
    x, every = torch.randn(1, 32, 14, 14).expand(K, -1, -1, -1), torch.arange(K)
    with torch.no_grad():
        descriptors = class_descriptors(head.bbox_head)
        added = head.mask_head(x, every, descriptors) - without(x, every, descriptors)
    assert added.abs().max() > 1e-3
    assert torch.allclose(added, added[:1].expand_as(added), atol=1e-6)


def test_layers_start_as_in_the_released_code() -> None:
    head = model().roi_head.mask_head
    for layer in (head.transfer[0], head.transfer[2]):
        assert float(layer.weight.detach().std()) == pytest.approx((2 / layer.out_features) ** 0.5, rel=0.1)
        assert not layer.bias.any()
    assert float(head.mlp.weight.detach().std()) == pytest.approx(0.001, rel=0.01)
    assert not head.mlp.bias.any()


# ---------------------------------------------------------------------------- gradients and gating


@pytest.mark.parametrize("detach", [True, False])
def test_the_mask_loss_leaves_the_box_heads_class_weights_alone(detach: bool) -> None:
    net = model(detach_descriptor=detach)
    roi_losses(net, make_batch())["loss_mask"].backward()
    assert grads(net.roi_head.mask_head.transfer).keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}
    reached = grads(net.roi_head.bbox_head)
    assert reached.keys() == (set() if detach else {"fc_cls.weight", "fc_reg.weight"})


@pytest.mark.parametrize("batch", [make_batch(), *HARD.values()], ids=["objects", *HARD])
def test_losses_are_finite_and_every_parameter_has_a_gradient(batch: object) -> None:
    net = model()
    losses = detector_losses(net, batch)
    sum(loss for name, loss in losses.items() if "loss" in name).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert not [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", ["no base object", "no objects", "crowds only"])
def test_mask_loss_is_exactly_zero_without_base_objects(name: str) -> None:
    net = model()
    loss = roi_losses(net, HARD[name])["loss_mask"]
    assert float(loss.detach()) == 0
    loss.backward()
    reached = grads(net.roi_head.mask_head)
    assert reached.keys() == {n for n, _ in net.roi_head.mask_head.named_parameters()}
    assert set(reached.values()) == {0.0}


def test_novel_masks_change_no_loss_by_a_bit_and_base_masks_do() -> None:
    losses, novel, base = (detector_losses(model(), make_batch(scrambled=s)) for s in ((), NOVEL, BASE))
    assert all(losses[name].equal(novel[name]) for name in losses)
    assert not losses["loss_mask"].equal(base["loss_mask"])
    assert losses["loss_cls"].equal(base["loss_cls"])


def test_the_loss_is_the_cross_entropy_on_the_ground_truths_channel() -> None:
    net, batch = model(), make_batch()
    results, truth = sampling(net, batch)
    loss = roi_losses(net, batch)["loss_mask"]
    head, seen = net.roi_head, []
    handle = head.mask_head.register_forward_pre_hook(lambda module, args: seen.append(args))
    roi_losses(net, batch)
    handle.remove()
    x, labels, _ = seen[0]
    chosen = head.positives_of_base(results)
    assert labels.equal(torch.cat([r.pos_gt_labels for r in results])[chosen])
    assert set(labels.tolist()) == set(BASE)
    p = naive_maps(head, x)[torch.arange(len(x)), labels].double().sigmoid()
    targets = MaskBatch(results, truth, chosen, chosen).targets(28)
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert float(loss.detach()) == pytest.approx(float(expected), abs=1e-5)


def test_a_few_steps_reduce_the_loss_and_change_the_masks_of_novel_classes() -> None:
    net = build_model(tiny_config("maskx-rcnn", "paper", {}), DATASET, {"base": [2, 9], "novel": [1, 5]}, weights=None)
    torch.manual_seed(0)
    net.init_weights()
    net.train()
    head, batch = net.roi_head, make_batch(((A,), (C,)))  # base objects only
    optimizer = torch.optim.AdamW(head.mask_head.parameters(), lr=1e-3)
    before, losses = naive_kernels(head).detach(), []
    for _ in range(6):
        optimizer.zero_grad()
        loss = roi_losses(net, batch)["loss_mask"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    moved = (naive_kernels(head) - before).abs().amax(1)
    assert (moved[list(NOVEL)] > 1e-4).all()


# ---------------------------------------------------------------------------- test


def predict(net: nn.Module, labels: list[Tensor], boxes: list[Tensor]) -> list:
    metas = [dict(img_shape=(SIZE, SIZE), ori_shape=(2 * SIZE, 2 * SIZE), scale_factor=(0.5, 0.5))] * len(boxes)
    with torch.no_grad():
        features = net.extract_feat(make_batch().inputs)
        return net.roi_head.predict_masks_in_boxes(features, metas, boxes, labels)


def test_masks_in_boxes_have_the_original_size_and_may_be_none() -> None:
    net = model().eval()
    boxes = [torch.tensor([[10.0, 12, 40, 30], [50, 50, 90, 80]]), torch.zeros(0, 4)]
    labels = [torch.tensor([1, 0]), torch.zeros(0, dtype=torch.long)]
    side = 2 * SIZE
    assert [r.masks.shape for r in predict(net, labels, boxes)] == [(2, side, side), (0, side, side)]
    assert [r.masks.shape for r in predict(net, labels[1:] * 2, boxes[1:] * 2)] == [(0, side, side)] * 2


class FixedKernels(nn.Module):
    """In place of the transfer: even classes fill their box, odd ones leave it empty."""

    def forward(self, descriptors: Tensor) -> Tensor:
        return torch.tensor([1e4, -1e4]).repeat(K // 2)[:, None].expand(K, 32)


def test_a_mask_is_that_of_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    net = model().eval()
    monkeypatch.setitem(net.roi_head.mask_head._modules, "transfer", FixedKernels())
    labels, box = [torch.tensor([0, 1, 2]), torch.tensor([3, 2])], torch.tensor([[10.0, 12, 80, 70]])
    areas = [r.masks.flatten(1).sum(1).tolist() for r in predict(net, labels, [box.repeat(3, 1), box.repeat(2, 1)])]
    assert areas[0][0] == areas[0][2] == areas[1][1] > 1000
    assert areas[0][1] == areas[1][0] == 0


def test_detection_gives_a_mask_for_each_box() -> None:
    net, batch = model().eval(), make_batch().fresh()
    with torch.no_grad():
        found = net.predict(batch.inputs, batch.samples, rescale=True)
    for sample in found:
        assert len(sample.pred_instances) > 0
        assert sample.pred_instances.masks.shape == (len(sample.pred_instances), SIZE, SIZE)


# ---------------------------------------------------------------------------- configuration


def test_size_at_paper_scale() -> None:
    """Mask R-CNN with its predictor replaced by the transfer and an MLP of 157 M parameters."""
    coco = {"categories": [{"id": n, "name": str(n)} for n in range(80)]}
    with torch.device("meta"):
        net = build_model(paper_config(), coco, {"base": list(range(60)), "novel": list(range(60, 80))}, weights=None)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in net.roi_head.mask_head.named_children()}
    assert count["transfer"] == 5120 * 256 + 256 + 256 * 256 + 256
    assert count["mlp"] == 256 * 28 * 28 * 784 + 784 == 157_352_720
    assert count["conv_logits"] == 0
    mask_rcnn = 44.40e6 - 80 * 257  # mmdet's with 80 mask channels, less its predictor
    whole = sum(p.numel() for p in net.parameters())
    assert whole == pytest.approx(mask_rcnn + count["mlp"] + count["transfer"], abs=1e4)


def test_recipes() -> None:
    source, common = paper_config(), paper_config(recipe="common")
    assert source["image"]["train"] == [[1333, 800]]
    assert (source["warmup_iterations"], source["warmup_factor"]) == (500, 1 / 3)
    assert source["schedule"] == {"length": 1, "iterations": 90_000, "batch": 16, "drops": [60 / 90, 80 / 90]}
    assert common["warmup_factor"] == 0.001
    assert common["image"]["train"] == [[1333, 640], [1333, 800]]
    assert common["schedule"] == {"length": 1, "drops": [8 / 12, 11 / 12]}
    assert source["model"]["roi_head"]["options"] == preset_options("maskx-rcnn", "paper")


def test_a_convolutional_box_head_gives_descriptors_too() -> None:
    net = model(box_head="conv")
    assert class_descriptors(net.roi_head.bbox_head).shape == (K, 5 * 32)
    assert torch.isfinite(roi_losses(net, make_batch())["loss_mask"])
