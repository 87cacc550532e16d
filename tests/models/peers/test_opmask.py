"""OPMask: its map, its heads, which RoIs it learns from, BatchNorm over RoIs, and its recipe."""

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
    Batch,
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
from contrastmask.config.fragments import fragment
from contrastmask.config.options import check_options, preset_options
from contrastmask.config.yamlfiles import read_yaml
from contrastmask.errors import OptionError
from contrastmask.models.common.cam import EPS
from contrastmask.models.common.norm import RoIBatchNorm, synchronise
from contrastmask.models.common.partial_roi_head import MaskBatch
from contrastmask.training.build import build_model, train_pipeline
from contrastmask.training.train import optim_wrapper, total_iterations

from mmengine.optim import build_optim_wrapper  # isort: skip  # after contrastmask.models
from mmdet.structures.bbox import bbox2roi

K = len(DATASET["categories"])
HARD = {
    "base and novel objects": make_batch(),
    "no base object": make_batch(((B,), (D,))),
    "no novel object": make_batch(((A,), (C,))),
    "no objects": make_batch(((), ())),
    "one image without objects": make_batch(((A, B), ())),
    "one base RoI": make_batch(((A,), (B,)), jitter=0),
    "crowds only": make_batch(((), ()), ignored=(A, B)),
}


def model(**options: bool | str) -> nn.Module:
    return tiny_model("opmask", **options)


def paper_config(recipe: str = "source") -> dict:
    changes = {"scale": "paper", "data_root": "/d"}
    settings = load_settings(read_yaml(CONFIGS / "config.yaml", "config") | changes)
    entry = {"method": "opmask", "backbone": "r50", "schedule": "130k", "setting": "nonvoc2voc"}
    return resolve(run_spec(entry | {"options": {"recipe": recipe}}, "paper"), settings)


def rois_of(results: list) -> tuple[Tensor, Tensor]:
    """Positive RoIs (R, 5) and their labels (R,)."""
    return bbox2roi([r.pos_priors for r in results]), torch.cat([r.pos_gt_labels for r in results])


# ---------------------------------------------------------------- the map


def naive_prior(head: nn.Module, class_map: Tensor, labels: Tensor) -> Tensor:
    """(R, 14, 14): a 1x1 convolution with the classifier's weights, min-max of one 7x7 map at a time, then resized."""
    every = F.conv2d(class_map, head.bbox_head.fc_cls.weight[:, :, None, None])
    maps = []
    for number, label in enumerate(labels):
        raw = every[number, label]
        scaled = (raw - raw.min()) / (raw.max() - raw.min() + EPS)
        maps.append(F.interpolate(scaled[None, None], size=(14, 14), mode="bilinear", align_corners=False)[0, 0])
    return torch.stack(maps)


def record_mask_head(head: nn.Module, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """What the mask head gets and gives: `x`, `prior`, `logits`."""
    seen: dict[str, Tensor] = {}
    forward = head.mask_head.forward

    def recording(x: Tensor, y: Tensor | None = None, prior: Tensor | None = None) -> Tensor:
        assert y is None and prior is not None
        seen.update(x=x, prior=prior, logits=forward(x, y, prior))
        return seen["logits"]

    monkeypatch.setattr(head.mask_head, "forward", recording)
    return seen


def test_the_prior_is_the_normalised_then_resized_convolution_of_the_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = model().eval(), make_batch()
    results, _ = sampling(net, batch)
    rois, labels = rois_of(results)
    seen = record_mask_head(net.roi_head, monkeypatch)
    with torch.no_grad():
        roi_losses(net, batch)
        features = net.roi_head.bbox_roi_extractor(net.extract_feat(batch.inputs)[:4], rois)
        for conv in net.roi_head.bbox_head.shared_convs:
            features = conv(features)
    expected = naive_prior(net.roi_head, features, labels)
    torch.testing.assert_close(seen["prior"], expected, rtol=1e-3, atol=1e-4)


def test_normalised_at_7_the_resized_map_need_not_reach_1() -> None:
    peak = torch.zeros(1, 7, 7)
    peak[0, 3, 3] = 2.0
    first, then = (model(cam_norm=order).roi_head._prior(peak) for order in ("normalise_first", "resize_first"))
    assert first.shape == then.shape == (1, 14, 14)
    assert 0.5 < float(first.max()) < 0.6  # bilinear: 0.75 x 0.75
    assert float(then.max()) == pytest.approx(1, abs=1e-5)


def test_scores_and_boxes_come_from_the_same_trunk() -> None:
    head = model().eval().roi_head.bbox_head
    x = torch.randn(3, head.shared_convs[0].in_channels, 7, 7)
    with torch.no_grad():
        scores, deltas, class_map = head.forward_with_map(x)
        mean = class_map.mean((2, 3))
        torch.testing.assert_close(scores, head.fc_cls(mean))
        torch.testing.assert_close(deltas, head.fc_reg(mean))
        raw = torch.stack([head.activation(class_map, torch.full((3,), label)).mean((1, 2)) for label in range(K)], 1)
        torch.testing.assert_close(raw + head.fc_cls.bias[:K], scores[:, :K])
    assert not head.cls_convs and not head.reg_convs


def test_the_map_is_added_to_every_channel_before_seven_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    net = model().eval()
    head = net.roi_head.mask_head
    assert len(head.convs) == 7 and all(isinstance(conv.norm, RoIBatchNorm) for conv in head.convs)
    x, prior = torch.randn(2, head.in_channels, 14, 14), torch.rand(2, 14, 14)
    with torch.no_grad():
        through = x + prior[:, None].expand_as(x)
        for conv in head.convs:
            through = F.relu(conv.norm(F.conv2d(through, conv.conv.weight, padding=1)))
        expected = head.conv_logits(F.relu(head.upsample(through)))
        torch.testing.assert_close(head(x, prior=prior), expected)
    assert expected.shape == (2, 1, 28, 28)


def test_mask_loss_reaches_the_trunk_and_never_the_linear_layers() -> None:
    net = model()
    roi_losses(net, make_batch())["loss_mask"].backward()
    reached = {name for name, size in grads(net.roi_head).items() if size > 0}
    assert {n.split(".")[1] for n in reached if n.startswith("bbox_head")} == {"shared_convs"}
    assert {n for n, _ in net.roi_head.bbox_head.named_parameters() if "conv.weight" in n} == {
        n.removeprefix("bbox_head.") for n in reached if n.startswith("bbox_head") and "conv.weight" in n
    }
    detached = model(detach_cam=True)
    roi_losses(detached, make_batch())["loss_mask"].backward()
    assert not any(n.startswith("bbox_head") and size > 0 for n, size in grads(detached.roi_head).items())


# ---------------------------------------------------------------- partial supervision


@pytest.mark.parametrize("batch", HARD.values(), ids=HARD)
def test_losses_are_finite_and_every_parameter_has_a_gradient(batch: Batch) -> None:
    net = copy.deepcopy(model())
    losses = detector_losses(net, batch)
    sum(loss for name, loss in losses.items() if "loss" in name).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert not [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert all(torch.isfinite(b).all() for b in net.buffers())


@pytest.mark.parametrize("name", ["no objects", "crowds only"])
def test_without_objects_the_mask_loss_is_zero_and_the_statistics_stay(name: str) -> None:
    net = copy.deepcopy(model())
    before = {n: b.clone() for n, b in net.roi_head.mask_head.named_buffers()}
    assert float(roi_losses(net, HARD[name])["loss_mask"].detach()) == 0
    assert all(b.equal(before[n]) for n, b in net.roi_head.mask_head.named_buffers())


def test_novel_rois_enter_the_statistics_and_no_loss() -> None:
    net = copy.deepcopy(model())
    before = net.roi_head.mask_head.convs[0].norm.running_mean.clone()
    assert float(roi_losses(net, HARD["no base object"])["loss_mask"].detach()) == 0
    assert not net.roi_head.mask_head.convs[0].norm.running_mean.equal(before)


def test_novel_masks_change_no_loss_and_no_gradient_by_a_bit_and_base_masks_do() -> None:
    losses, gradients = [], []
    for scrambled in ((), NOVEL, BASE):
        net = model()
        losses.append(detector_losses(net, make_batch(scrambled=scrambled)))
        losses[-1]["loss_mask"].backward()
        gradients.append({n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None})
    assert all(losses[0][n].equal(losses[1][n]) for n in losses[0])
    assert all(gradients[0][n].equal(gradients[1][n]) for n in gradients[0])
    assert not losses[0]["loss_mask"].equal(losses[2]["loss_mask"])
    assert losses[0]["loss_cls"].equal(losses[2]["loss_cls"])


def test_mask_loss_is_the_mean_over_all_positive_rois_of_base(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = model(), make_batch(jitter=3)
    results, truth = sampling(net, batch)
    base = torch.isin(rois_of(results)[1], torch.tensor(BASE))
    is_gt = torch.cat([r.pos_is_gt for r in results]).bool()
    assert (base & ~is_gt).any()
    seen = record_mask_head(net.roi_head, monkeypatch)
    loss = roi_losses(net, batch)["loss_mask"]
    assert len(seen["logits"]) == len(base), "BatchNorm sees novel ones too"
    targets = MaskBatch(results, truth, base, base).targets(28)
    expected = F.binary_cross_entropy_with_logits(seen["logits"][base, 0].double(), targets.double())
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


# ---------------------------------------------------------------- training and test


def test_training_and_test_see_the_same_mask_of_the_same_box(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = model().eval(), make_batch()
    batch.proposals = [found[:0] for found in batch.proposals]  # ground truth is all that is sampled
    seen = record_mask_head(net.roi_head, monkeypatch)
    with torch.no_grad():
        roi_losses(net, batch)
        trained = dict(seen)
        truth = [s.gt_instances for s in batch.samples]
        net.roi_head.predict_masks_in_boxes(
            net.extract_feat(batch.inputs),
            [dict(s.metainfo) for s in batch.samples],
            [t.bboxes for t in truth],
            [t.labels for t in truth],
        )
    assert len(trained["logits"]) == 4
    for name in ("x", "prior", "logits"):
        torch.testing.assert_close(trained[name], seen[name], rtol=1e-4, atol=1e-5)


def test_a_detections_map_is_of_its_proposal_and_its_mask_of_the_refined_box(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = model().eval(), make_batch()
    metas = [dict(sample.metainfo) for sample in batch.samples]
    with torch.no_grad():
        features = net.extract_feat(batch.inputs)
        results = net.roi_head.predict_bbox(features, metas, batch.fresh().proposals, net.roi_head.test_cfg)
        proposals, refined = (bbox2roi([r[name].clone() for r in results]) for name in ("proposals", "bboxes"))
        labels = torch.cat([r.labels for r in results])
        class_map = net.roi_head._bbox_forward(features, proposals)["class_map"]
        x = net.roi_head._mask_features(features, refined)
        seen = record_mask_head(net.roi_head, monkeypatch)
        found = net.roi_head.predict_mask(features, metas, results, rescale=True)
    assert not proposals.equal(refined) and len(labels) > 5
    torch.testing.assert_close(seen["prior"], naive_prior(net.roi_head, class_map, labels), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(seen["x"], x)
    assert [r.masks.shape for r in found] == [(len(r.bboxes), SIZE, SIZE) for r in found]


@pytest.mark.parametrize("empty", [(0,), (0, 1)])
def test_prediction_survives_images_without_proposals(empty: tuple[int, ...]) -> None:
    net, batch = model().eval(), make_batch()
    batch.proposals = [p[:0] if n in empty else p for n, p in enumerate(batch.proposals)]
    with torch.no_grad():
        found = net.roi_head.predict(net.extract_feat(batch.inputs), batch.proposals, batch.samples, rescale=True)
    assert [len(r.masks) > 0 for r in found] == [n not in empty for n in (0, 1)]


def test_some_steps_on_one_batch_lower_the_losses() -> None:
    net, batch = copy.deepcopy(model()), make_batch(jitter=3)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    curve = []
    for _ in range(25):
        losses = roi_losses(net, batch)
        curve.append({n: float(v.detach()) for n, v in losses.items() if "loss" in n})
        optimizer.zero_grad()
        sum(losses[n] for n in curve[-1]).backward()
        optimizer.step()
    assert curve[0]["loss_mask"] == pytest.approx(0.693, abs=0.01), "logits start near 0"
    assert curve[-1]["loss_mask"] < 0.8 * curve[0]["loss_mask"]
    assert curve[-1]["loss_cls"] < 0.8 * curve[0]["loss_cls"]


# ---------------------------------------------------------------- BatchNorm over RoIs


def test_batch_norm_is_torchs_and_survives_no_roi() -> None:
    torch.manual_seed(0)
    norm, plain = RoIBatchNorm(3), nn.BatchNorm2d(3)
    x = torch.randn(1, 3, 7, 7)  # one RoI has 49 values
    torch.testing.assert_close(norm(x), plain(x))
    before = {n: b.clone() for n, b in norm.named_buffers()}
    nothing = norm(torch.zeros(0, 3, 7, 7, requires_grad=True))
    nothing.sum().backward()
    assert nothing.shape == (0, 3, 7, 7)
    assert norm.weight.grad.equal(torch.zeros(3)) and norm.bias.grad.equal(torch.zeros(3))
    assert all(b.equal(before[n]) for n, b in norm.named_buffers())


def test_a_single_value_per_channel_is_normalised_by_the_running_statistics() -> None:
    norm = RoIBatchNorm(2)
    norm.running_mean.copy_(torch.tensor([1.0, -1]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    x = torch.tensor([3.0, 0]).view(1, 2, 1, 1).requires_grad_()
    out = norm(x)
    torch.testing.assert_close(out.flatten(), torch.tensor([1.0, 2]), rtol=1e-4, atol=1e-4)
    out.sum().backward()
    assert x.grad.flatten().tolist() == pytest.approx([0.5, 2], rel=1e-4)
    assert norm.running_mean.tolist() == [1, -1] and norm.running_var.tolist() == [4, 0.25]


def test_several_gpus_synchronise_these_norms_and_no_other() -> None:
    net = copy.deepcopy(model())
    state = net.state_dict()
    synchronise(net)
    kinds = [type(m) for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert kinds.count(nn.SyncBatchNorm) == 4 + 7
    assert all(kind in (nn.SyncBatchNorm, nn.BatchNorm2d) for kind in kinds)
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in net.backbone.modules())
    after = net.state_dict()
    assert list(state) == list(after) and all(state[name].equal(after[name]) for name in state)
    other = copy.deepcopy(tiny_model("contrastmask", projector_norm=True))
    synchronise(other)
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in other.modules())


# ---------------------------------------------------------------- configuration


def test_size_at_paper_scale() -> None:
    dataset = {"categories": [{"id": n, "name": str(n)} for n in range(80)]}
    net = build_model(paper_config(), dataset, {"base": list(range(60))}, weights=None)
    box = 9 * (256 * 512 + 512 * 1024 + 2 * 1024**2) + 2 * (512 + 3 * 1024) + 1025 * (81 + 320)
    mask = 7 * (9 * 256**2 + 2 * 256) + 256 * 256 * 4 + 256 + 257
    assert sum(p.numel() for p in net.roi_head.bbox_head.parameters()) == box
    assert sum(p.numel() for p in net.roi_head.mask_head.parameters()) == mask
    net.init_weights()
    stds = {name: float(p.detach().std()) for name, p in net.roi_head.named_parameters()}
    assert stds["bbox_head.fc_cls.weight"] == pytest.approx(0.01, rel=0.05)
    assert stds["bbox_head.fc_reg.weight"] == pytest.approx(0.001, rel=0.05)
    assert stds["mask_head.conv_logits.weight"] == pytest.approx(0.001, rel=0.2)
    for name, fan_out in (("bbox_head.shared_convs.1.conv.weight", 1024 * 9), ("mask_head.convs.6.conv.weight", 2304)):
        assert stds[name] == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), "MSRA"


def test_widths_follow_the_scale_and_depths_do_not() -> None:
    head = model().roi_head
    assert [conv.out_channels for conv in head.bbox_head.shared_convs] == [64, 128, 128, 128]
    assert head.bbox_head.fc_cls.in_features == 128
    assert {conv.out_channels for conv in head.mask_head.convs} == {32}


def test_130k_iterations_of_batch_16() -> None:
    assert total_iterations(paper_config(), 117_266) == 130_000
    assert total_iterations(paper_config() | {"batch": 2}, 117_266) == 8 * 130_000
    assert paper_config()["optimizer"]["lr"] == pytest.approx(0.02)


def test_the_source_recipe_clips_values_and_chooses_among_six_sizes() -> None:
    config = paper_config()
    assert config["warmup_iterations"] == 1000
    assert config["image"]["train"] == [[1333, short] for short in (640, 672, 704, 736, 768, 800)]
    before = copy.deepcopy(config)
    weight = nn.Linear(2, 1, bias=False)
    wrapper = build_optim_wrapper(weight, optim_wrapper(config))
    wrapper.backward(weight(torch.tensor([100.0, 0.5])).sum())
    wrapper.step()
    assert weight.weight.grad.tolist() == [[1.0, 0.5]]
    assert config == before, "the configuration is the run's identity"
    resize = train_pipeline(config)[2]
    assert resize["type"] == "RandomChoiceResize" and len(resize["scales"]) == 6 and resize["keep_ratio"]


def test_the_common_recipe_is_everyones() -> None:
    base, common = fragment(CONFIGS / "base.py"), paper_config(recipe="common")
    for key in ("image", "clip_grad", "warmup_iterations"):
        assert common[key] == base[key]
    assert tiny_config("opmask", "paper", {})["clip_grad"] == {"max_norm": 10}, "a scale's own clipping replaces it"


def test_options() -> None:
    options = preset_options("opmask", "paper")
    assert options == preset_options("opmask", "official")
    assert options["mask_rois"] == "positive" and options["cam_norm"] == "normalise_first"
    with pytest.raises(OptionError, match="it takes conv"):
        check_options("opmask", {"box_head": "fc"})
