"""Deep-MARC: its mask head, which boxes it learns from, its recipe, and ContrastMask on its head."""

import copy

import pytest
import torch
import torch.nn.functional as F
from models.tiny import (
    BASE,
    NOVEL,
    SIZE,
    A,
    B,
    Batch,
    C,
    D,
    detector_losses,
    make_batch,
    roi_losses,
    sampling,
    tiny_config,
    tiny_model,
)
from torch import Tensor, nn

from contrastmask.config import CONFIGS, load_settings, resolve, run_spec
from contrastmask.config.fragments import fragment
from contrastmask.config.options import check_options, preset_options
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.errors import OptionError
from contrastmask.models.common.norm import RoIBatchNorm, synchronise
from contrastmask.models.common.partial_roi_head import MaskBatch
from contrastmask.training.build import build_model
from contrastmask.training.train import optim_wrapper

SYSTEMS = {
    "deep-marc": {},
    "contrastmask": {"mask_head": "hourglass-52", "mask_rois": "gt"},
}
HARD = {
    "base and novel objects": make_batch(),
    "no base object": make_batch(((B,), (D,))),
    "no novel object": make_batch(((A,), (C,))),
    "no objects": make_batch(((), ())),
    "one image without objects": make_batch(((A, B), ())),
    "one base object": make_batch(((A,), (B,)), jitter=0),
    "crowds only": make_batch(((), ()), ignored=(A, B)),
}
system = pytest.mark.parametrize("method", SYSTEMS)


def model(method: str = "deep-marc", **options: bool | int | str) -> nn.Module:
    return tiny_model(method, **(SYSTEMS[method] | options))


def paper_config(method: str = "deep-marc", **options: int | str) -> dict:
    changes = {"scale": "paper", "data_root": "/d", "gpus_per_run": 8}
    settings = load_settings(read_yaml(CONFIGS / "config.yaml", "config") | changes)
    entry = {"method": method, "backbone": "r50", "schedule": "3x", "setting": "nonvoc2voc", "options": options}
    return resolve(run_spec(entry, "paper"), settings)


def record_mask_head(head: nn.Module, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What the mask head gets first and gives: `x` and `logits`."""
    seen: dict[str, Tensor] = {}
    forward = head.mask_head.forward

    def recording(x: Tensor, *args: Tensor, **kwargs: Tensor) -> Tensor:
        seen.update(x=x, logits=forward(x, *args, **kwargs))
        return seen["logits"]

    monkeypatch.setattr(head.mask_head, "forward", recording)
    return seen


# ---------------------------------------------------------------- the head


def test_the_head_is_hourglass_deconvolution_norm_and_one_convolution() -> None:
    head = model().eval().roi_head.mask_head
    x = torch.randn(3, 32, 32, 32)
    with torch.no_grad():
        features = head.hourglass(x)
        up = F.conv_transpose2d(features, head.upsample.weight, head.upsample.bias, stride=2)
        norm = head.upsample_norm
        up = F.batch_norm(up, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3)
        expected = F.conv2d(F.relu(up), head.conv_logits.weight, head.conv_logits.bias)
        torch.testing.assert_close(head(x), expected, rtol=1e-4, atol=1e-5)
    assert features.shape == (3, 16, 32, 32) and expected.shape == (3, 1, 64, 64)


def test_size_at_paper_scale() -> None:
    dataset = {"categories": [{"id": n, "name": str(n)} for n in range(80)]}
    sizes = {}
    for depth in (20, 52, 100):
        net = build_model(paper_config(depth=depth), dataset, {"base": list(range(60))}, weights=None)
        head = net.roi_head.mask_head
        sizes[depth] = sum(p.numel() for p in head.parameters())
        after = 128 * 64 * 4 + 64 + 2 * 64 + 64 + 1  # deconvolution, BatchNorm, logits
        assert sizes[depth] == sum(p.numel() for p in head.hourglass.parameters()) + after
        assert net.roi_head.mask_roi_extractor.roi_layers[0].output_size == (32, 32)
    assert sizes[20] < sizes[52] < sizes[100]


def test_widths_follow_the_scale_and_depths_do_not() -> None:
    head = model().roi_head.mask_head
    convolutions = [m for m in head.hourglass.modules() if isinstance(m, nn.Conv2d)]
    full = build_model(paper_config(), {"categories": [{"id": 0, "name": "a"}]}, {"base": [0]}, weights=None)
    theirs = [m for m in full.roi_head.mask_head.hourglass.modules() if isinstance(m, nn.Conv2d)]
    assert [8 * c.out_channels for c in convolutions] == [c.out_channels for c in theirs]
    assert {c.out_channels for c in theirs} == {64, 128, 192, 256}


def test_several_gpus_synchronise_every_norm_of_the_head() -> None:
    net = copy.deepcopy(model())
    norms = sum(isinstance(m, RoIBatchNorm) for m in net.modules())
    synchronise(net)
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in net.modules()) == norms
    assert norms == sum(isinstance(m, nn.Conv2d) for m in net.roi_head.mask_head.modules())  # all but the logits' + 1


# ---------------------------------------------------------------- partial supervision


@system
@pytest.mark.parametrize("batch", HARD.values(), ids=HARD)
def test_losses_are_finite_and_every_parameter_has_a_gradient(method: str, batch: Batch) -> None:
    net = copy.deepcopy(model(method))
    losses = detector_losses(net, batch)
    sum(loss for name, loss in losses.items() if "loss" in name).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert not [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert all(torch.isfinite(b).all() for b in net.buffers())


@system
@pytest.mark.parametrize("name", ["no objects", "crowds only"])
def test_without_objects_the_mask_loss_is_zero_and_the_statistics_stay(method: str, name: str) -> None:
    net = copy.deepcopy(model(method))
    before = {n: b.clone() for n, b in net.roi_head.mask_head.named_buffers()}
    assert float(roi_losses(net, HARD[name])["loss_mask"].detach()) == 0
    assert all(b.equal(before[n]) for n, b in net.roi_head.mask_head.named_buffers())


def test_all_objects_of_an_image_enter_and_novel_ones_only_the_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that sampling would leave out."""
    net, batch = copy.deepcopy(model()), make_batch()
    monkeypatch.setattr(net.roi_head.bbox_sampler, "num", 1)
    seen = record_mask_head(net.roi_head, monkeypatch)
    roi_losses(net, batch)
    assert len(seen["logits"]) == sum(len(s.gt_instances) for s in batch.samples)
    before = net.roi_head.mask_head.upsample_norm.running_mean.clone()
    assert float(roi_losses(net, HARD["no base object"])["loss_mask"].detach()) == 0
    assert not net.roi_head.mask_head.upsample_norm.running_mean.equal(before)


def test_targets_are_masks_of_112_pixels_resized_without_a_threshold() -> None:
    net, batch = model(), make_batch()
    found = net.roi_head.mask_batch([], batch.samples)
    targets = net.roi_head.mask_targets(found, 64)
    assert ((targets > 0) & (targets < 1)).any() and targets.shape == (2, 64, 64)
    fine = found.targets(112)[0]
    for y, x in ((10, 20), (31, 5), (40, 60)):
        top, left = (y + 0.5) * 112 / 64 - 0.5, (x + 0.5) * 112 / 64 - 0.5
        i, j, v, u = int(top), int(left), top % 1, left % 1
        patch = fine[i : i + 2, j : j + 2]
        expected = (patch * torch.tensor([[(1 - v) * (1 - u), (1 - v) * u], [v * (1 - u), v * u]])).sum()
        assert float(targets[0, y, x]) == pytest.approx(float(expected), abs=1e-5)


@system
def test_novel_masks_change_no_loss_and_no_gradient_by_a_bit_and_base_masks_do(method: str) -> None:
    losses, gradients = [], []
    for scrambled in ((), NOVEL, BASE):
        net = copy.deepcopy(model(method))
        losses.append(detector_losses(net, make_batch(scrambled=scrambled)))
        sum(loss for name, loss in losses[-1].items() if "loss" in name).backward()
        gradients.append({n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None})
    assert all(losses[0][n].equal(losses[1][n]) for n in losses[0])
    assert all(gradients[0][n].equal(gradients[1][n]) for n in gradients[0])
    assert not losses[0]["loss_mask"].equal(losses[2]["loss_mask"])
    assert losses[0]["loss_cls"].equal(losses[2]["loss_cls"])


@system
def test_mask_loss_is_the_mean_over_ground_truth_boxes_of_base(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = copy.deepcopy(model(method)), make_batch(jitter=3)
    results, truth = sampling(net, batch)
    labels = torch.cat([r.pos_gt_labels for r in results])
    is_gt = torch.cat([r.pos_is_gt for r in results]).bool()
    chosen = torch.isin(labels, torch.tensor(BASE)) & is_gt
    assert 0 < int(chosen.sum()) < int(is_gt.sum()) < len(labels), "neither novel objects nor proposals"
    seen = record_mask_head(net.roi_head, monkeypatch)
    loss = roi_losses(net, batch)["loss_mask"]
    logits, targets = seen["logits"], MaskBatch(results, truth, chosen, chosen).targets(64)
    if method == "deep-marc":  # sees all objects, in the order of the annotations
        found = net.roi_head.mask_batch(results, batch.samples)
        logits, targets = logits[found.base], net.roi_head.mask_targets(found, 64)
    assert logits.shape == (int(chosen.sum()), 1, 64, 64)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0].double(), targets.double())
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


# ---------------------------------------------------------------- training and test


@system
def test_training_and_test_see_the_same_mask_of_the_same_box(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = model(method).eval(), make_batch()
    seen = record_mask_head(net.roi_head, monkeypatch)
    with torch.no_grad():
        roi_losses(net, batch)
        trained = dict(seen)
        truth = [s.gt_instances for s in batch.samples]
        if method != "deep-marc":
            truth = [t[torch.isin(t.labels, torch.tensor(BASE))] for t in truth]
        found = net.roi_head.predict_masks_in_boxes(
            net.extract_feat(batch.inputs),
            [dict(s.metainfo) for s in batch.samples],
            [t.bboxes for t in truth],
            [t.labels for t in truth],
        )
    assert [r.masks.shape for r in found] == [(len(t), SIZE, SIZE) for t in truth]
    for name in ("x", "logits"):
        torch.testing.assert_close(trained[name], seen[name], rtol=1e-3, atol=1e-4)


def test_a_mask_of_64_pixels_is_pasted_into_its_box() -> None:
    net = model().eval()
    sample = make_batch().samples[0]
    logits = torch.full((1, 1, 64, 64), -9.0)
    logits[..., :32] = 9.0  # the left half
    boxes = sample.gt_instances[:1].clone()
    x1, y1, x2, y2 = boxes.bboxes[0].int().tolist()
    boxes.scores = torch.ones(1)
    mask = net.roi_head.mask_head.predict_by_feat(
        mask_preds=(logits,),
        results_list=[boxes],
        batch_img_metas=[sample.metainfo],
        rcnn_test_cfg=net.roi_head.test_cfg,
    )[0].masks[0]
    expected = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    expected[y1:y2, x1 : (x1 + x2) // 2] = True
    assert mask.shape == (SIZE, SIZE) and mask.equal(expected)


@system
@pytest.mark.parametrize("empty", [(0,), (0, 1)])
def test_prediction_survives_images_without_proposals(method: str, empty: tuple[int, ...]) -> None:
    net, batch = model(method).eval(), make_batch()
    batch.proposals = [p[:0] if n in empty else p for n, p in enumerate(batch.proposals)]
    with torch.no_grad():
        found = net.roi_head.predict(net.extract_feat(batch.inputs), batch.proposals, batch.samples, rescale=True)
    assert [len(r.masks) > 0 for r in found] == [n not in empty for n in (0, 1)]


@system
def test_some_steps_on_one_batch_lower_the_mask_loss(method: str) -> None:
    net, batch = copy.deepcopy(model(method)), make_batch()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    curve = []
    for _ in range(15):
        losses = roi_losses(net, batch)
        curve.append(float(losses["loss_mask"].detach()))
        optimizer.zero_grad()
        sum(loss for name, loss in losses.items() if "loss" in name).backward()
        optimizer.step()
    assert curve[-1] < 0.8 * curve[0]


# ---------------------------------------------------------------- ContrastMask on this head


def test_contrastmasks_inputs_are_fused_before_the_hourglass() -> None:
    head = model("contrastmask").eval().roi_head.mask_head
    x, y, prior = torch.randn(2, 32, 32, 32), torch.randn(2, 32, 14, 14), torch.rand(2, 32, 32)
    seen = []
    handle = head.hourglass.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        assert head(x, y, prior).shape == (2, 1, 64, 64)
    handle.remove()
    enlarged = F.interpolate(y, size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(seen[0], torch.cat([x, enlarged], 1) + prior[:, None])


def test_the_two_systems_have_the_same_head_but_for_its_inputs() -> None:
    ours, theirs = paper_config("contrastmask", mask_head="hourglass-52")["model"], paper_config()["model"]
    assert ours["roi_head"]["mask_roi_extractor"] == theirs["roi_head"]["mask_roi_extractor"]
    assert ours["train_cfg"]["rcnn"] == theirs["train_cfg"]["rcnn"]
    head, other = ours["roi_head"]["mask_head"], theirs["roi_head"]["mask_head"]
    assert head | {"type": "DeepMaskHead"} == other
    assert head["type"] == "PriorDeepMaskHead"


def test_without_the_option_contrastmask_is_as_it_was() -> None:
    plain = fragment(CONFIGS / "two_stage.py")["model"]
    config = paper_config("contrastmask")["model"]
    assert config["roi_head"]["mask_head"] == plain["roi_head"]["mask_head"] | {"type": "PriorMaskHead"}
    assert config["roi_head"]["mask_roi_extractor"] == plain["roi_head"]["mask_roi_extractor"]
    assert config["train_cfg"] == plain["train_cfg"]


# ---------------------------------------------------------------- configuration


def test_the_source_recipe() -> None:
    config = paper_config()
    assert config["optimizer"]["lr"] == pytest.approx(0.12 * 16 / 64)
    assert config["optimizer"] | {"lr": 0} == {"type": "SGD", "momentum": 0.9, "weight_decay": 4e-5, "lr": 0}
    assert config["warmup_factor"] * config["optimizer"]["lr"] == pytest.approx(0.0067 * 16 / 64)
    assert config["schedule"]["length"] == 3
    assert [70 * share for share in config["schedule"]["drops"]] == pytest.approx([50, 65])
    assert "lr_factor" not in config


def test_the_source_recipes_decay_spares_the_hourglass_norms_and_biases() -> None:
    from mmengine.optim import build_optim_wrapper

    net = model()
    wrapper = build_optim_wrapper(net, optim_wrapper(paper_config()))
    names = {id(p): n for n, p in net.named_parameters()}
    decay = {names[id(g["params"][0])]: g["weight_decay"] for g in wrapper.optimizer.param_groups}
    spared = {name for name, value in decay.items() if value == 0}
    expected = {n for n in decay if "hourglass" in n or n.endswith("bias") or "norm" in n or ".bn" in n}
    assert {n for n in spared ^ expected if "downsample" not in n} == set()


def test_the_common_recipe_is_everyones() -> None:
    common, ours = paper_config(recipe="common"), paper_config("contrastmask")
    assert common["image"] | {"masks": "polygons"} == ours["image"], "as its authors' 3x"
    for key in ("clip_grad", "paramwise", "warmup_iterations", "warmup_factor", "optimizer", "schedule"):
        assert common[key] == ours[key]
    assert tiny_config("deep-marc", "paper", {})["optimizer"]["type"] == "AdamW", "a scale's own replaces it"


def test_options() -> None:
    options = preset_options("deep-marc", "paper")
    assert options == preset_options("deep-marc", "official")
    assert (options["mask_rois"], options["depth"]) == ("gt", 52)
    with pytest.raises(OptionError, match=r"20 \| 52 \| 100"):
        check_options("deep-marc", {"depth": 50})
