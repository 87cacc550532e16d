"""ContrastMask's RoI head: its options, query groups, the CAM of a detection."""

import pytest
import torch
from models.tiny import IMAGES, NOVEL, A, B, Batch, C, D, Spy, build, grads, make_batch, roi_losses, sampling

import contrastmask.models.contrastmask.roi_head as module
from contrastmask.models.common.cam import min_max, positive_rows, resize
from contrastmask.models.common.mask_batch import MaskBatch
from contrastmask.models.contrastmask.cl_head import self_affinity_average

from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead  # isort: skip  # after contrastmask.models
from mmdet.structures.bbox import bbox2roi

PRESETS = ("paper", "official")


def object_masks(results: list, truth: list, size: int) -> torch.Tensor:
    """Masks (R, size, size) of the positives' objects."""
    return MaskBatch(results, truth, torch.zeros(0), torch.zeros(0)).masks(size)


# ---------------------------------------------------------------- options


def test_losses_without_a_part_of_the_method() -> None:
    batch = make_batch()
    full = roi_losses(build(), batch)
    assert float(full["loss_contrast"].detach()) > 0
    for options in ({"cl": False}, {"cl_loss": False}, {"cl": False, "cam": False}):
        assert "loss_contrast" not in roi_losses(build(**options), batch)
    assert not hasattr(build(cl=False).roi_head, "cl_head")
    assert not hasattr(build(cl_loss=False).roi_head.cl_head, "projector")


def test_the_map_enters_the_mask_head_only_with_cam() -> None:
    with_, without = build(), build(cam=False)
    without.load_state_dict(with_.state_dict())
    batch = make_batch()
    assert not roi_losses(with_, batch)["loss_mask"].equal(roi_losses(without, batch)["loss_mask"])
    assert roi_losses(with_, batch)["loss_contrast"].equal(roi_losses(without, batch)["loss_contrast"])


def test_without_cam_and_cl_it_is_mask_rcnn_with_the_convolutional_box_head() -> None:
    bare, baseline = build(cam=False, cl=False), build("mask-rcnn", box_head="conv", mask_rois="gt")
    baseline.load_state_dict(bare.state_dict())
    batch = make_batch()
    for name, loss in roi_losses(bare, batch).items():
        torch.testing.assert_close(loss, roi_losses(baseline, batch)[name])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("who", ["all", "base", "novel"])
def test_supervision_empties_the_sets_of_other_rois(preset: str, who: str) -> None:
    head = build(preset=preset, cl_supervision=who, min_keys=0).roi_head
    results, truth = sampling(build(), make_batch())
    is_base = head.positives_of_base(results)
    assert 0 < is_base.sum() < len(is_base)
    cam, masks = torch.rand(len(is_base), 7, 7), object_masks(results, truth, head.options.cl_size)
    regions, keys = head._regions_and_keys(cam, is_base, masks)
    allowed = {"all": is_base | True, "base": is_base, "novel": ~is_base}[who]
    for found in regions:
        assert found.flatten(1).any(1).equal(allowed)
    for found in keys.sets():
        assert not found[~allowed].any()
    assert keys.fg_easy[allowed].any()


@pytest.mark.parametrize("changed", [{"cl_supervision": "base"}, {"cl_supervision": "novel"}, {"query_sharing": False}])
def test_supervision_and_sharing_change_the_contrastive_loss_only(changed: dict) -> None:
    full, other = build(sigma=1.0), build(sigma=1.0, **changed)
    other.load_state_dict(full.state_dict())
    before, after = (roi_losses(model, make_batch()) for model in (full, other))
    assert not before["loss_contrast"].equal(after["loss_contrast"])
    assert all(before[name].equal(after[name]) for name in before if name != "loss_contrast")


def test_true_masks_as_the_prior_of_novel_rois_reach_the_contrastive_loss_only() -> None:
    """The upper bound of Sec. 5, and full supervision; without the option novel masks reach nothing."""
    reached = {}
    for bound in ("none", "keys", "all"):
        model = build(novel_masks=bound)
        model.load_state_dict(build().state_dict() | {"roi_head.is_base": model.roi_head.is_base})
        plain, scrambled = (roi_losses(model, make_batch(scrambled=labels)) for labels in ((), NOVEL))
        reached[bound] = {name for name in plain if not plain[name].equal(scrambled[name])}
    assert reached == {"none": set(), "keys": {"loss_contrast"}, "all": {"loss_contrast", "loss_mask"}}


def test_true_masks_as_prior_give_novel_rois_a_boundary() -> None:
    """With `keys` a novel RoI has the key sets that a base RoI with its mask would have."""
    model, batch = build(novel_masks="keys"), make_batch()
    results, ground_truth = sampling(model, batch)
    labels = torch.cat([res.pos_gt_labels for res in results])
    maps, masks = torch.rand(len(labels), 7, 7), object_masks(results, ground_truth, 14)
    is_base = model.roi_head.is_base[labels]
    assert (~is_base).any()
    got = model.roi_head._regions_and_keys(maps, is_base, masks)
    expected = build()._modules["roi_head"]._regions_and_keys(maps, torch.ones_like(is_base), masks)
    for ours, theirs in zip((*got[0], *got[1].sets()), (*expected[0], *expected[1].sets()), strict=True):
        assert ours.equal(theirs)


def test_a_roi_with_too_few_keys_gives_none() -> None:
    head = build(min_keys=5).roi_head
    batch = make_batch()
    results, truth = sampling(build(), batch)
    is_base = head.positives_of_base(results)
    cam, masks = torch.rand(len(is_base), 7, 7), object_masks(results, truth, 14)
    keys = head._regions_and_keys(cam, is_base, masks)[1]
    every = build().roi_head._regions_and_keys(cam, is_base, masks)[1]
    for roi in range(len(is_base)):
        counts = [int(s[roi].sum()) for s in every.sets()]
        kept = [int(s[roi].sum()) for s in keys.sets()]
        assert kept == (counts if min(counts) >= 5 else [0] * 4)


def test_as_many_keys_as_the_least_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    head, cam = build(min_keys=5).roi_head, torch.full((2, 14, 14), 0.5)
    cam[:, 0, :5], cam[0, 1, :5], cam[1, 1, :4] = 1.0, 0.0, 0.0
    monkeypatch.setattr(head, "_contrastive_cam", lambda raw: raw)
    keys = head._regions_and_keys(cam, torch.tensor([False, False]), torch.zeros(2, 14, 14, dtype=torch.bool))[1]
    assert [s.sum(dim=(1, 2)).tolist() for s in keys.sets()] == [[5, 0]] * 4


def test_lambda_multiplies_the_contrastive_loss() -> None:
    model, values = build(), []
    for progress in (0.0, 1.0):
        model.roi_head.progress = progress
        values.append(float(roi_losses(model, make_batch())["loss_contrast"].detach()))
    assert values[1] == pytest.approx(4 * values[0], rel=1e-5)


@pytest.mark.parametrize(("preset", "size"), [("paper", 14), ("official", 28)])
def test_sampling_reads_the_mask_heads_map_resized_and_normalised(
    preset: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = build(preset=preset).roi_head
    results, truth = sampling(build(), make_batch())
    is_base = head.positives_of_base(results)
    raw, masks = torch.rand(len(is_base), 7, 7), object_masks(results, truth, size)
    monkeypatch.setattr(module, "partition", partitioned := Spy(module.partition))
    head._regions_and_keys(raw, is_base, masks)
    expected = min_max(resize(raw, 14))
    if size == 28:
        expected = min_max(resize(expected, 28))
    torch.testing.assert_close(partitioned.arguments[2], expected)


@pytest.mark.parametrize("preset", PRESETS)
def test_pseudo_masks_are_what_novel_rois_get_in_training(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = build(preset=preset, min_keys=0), make_batch()
    results, _ = sampling(model, batch)
    monkeypatch.setattr(module, "partition", partitioned := Spy(module.partition))
    roi_losses(model, batch)
    expected, expected_regions = partitioned.arguments[2], partitioned.result
    novel = ~model.roi_head.positives_of_base(results)
    rois, labels = bbox2roi([r.pos_priors for r in results]), torch.cat([r.pos_gt_labels for r in results])
    cam, regions = model.roi_head.pseudo_masks(model.extract_feat(batch.inputs), rois[novel], labels[novel])
    torch.testing.assert_close(cam, expected[novel], rtol=1e-3, atol=1e-4)
    delta = model.roi_head.options.delta
    clear = ((cam - delta).abs() > 1e-3) & ((cam - 1 + delta).abs() > 1e-3)
    for found, wanted in zip(regions, expected_regions, strict=True):
        assert found.any() and found[clear].equal(wanted[novel][clear])


def maps_of(head: torch.nn.Module, features: tuple, rois: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The RoIs' own maps, from a pass of the box head that sees them alone."""
    with torch.no_grad():
        raw = head.bbox_head.activation(head._bbox_forward(features, rois)["class_map"], labels)
    return min_max(resize(raw, 14))


def test_each_roi_has_its_own_map_for_its_objects_class(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = build(mask_rois="positive"), make_batch()
    results, _ = sampling(model, batch)
    rois, labels = bbox2roi([r.pos_priors for r in results]), torch.cat([r.pos_gt_labels for r in results])
    features = model.extract_feat(batch.inputs)
    expected = maps_of(model.roi_head, features, rois, labels)
    monkeypatch.setattr(module, "partition", partitioned := Spy(module.partition))
    monkeypatch.setattr(model.roi_head.mask_head, "forward", masked := Spy(model.roi_head.mask_head.forward))
    roi_losses(model, batch)
    torch.testing.assert_close(partitioned.arguments[2], expected, rtol=1e-3, atol=1e-4)
    base = model.roi_head.positives_of_base(results)
    torch.testing.assert_close(masked.arguments[2], expected[base], rtol=1e-3, atol=1e-4)
    assert not base[: int(base.sum())].all(), "else the order of rows could not matter"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_projector_sees_the_encoders_output_and_the_mask_head_y_of_the_same_rois(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Z of all positives from f(X) itself; Y of base RoIs, averaged by affinity in the preset `official` alone."""
    model, batch = build(preset=preset), make_batch()
    results, head = sampling(model, batch)[0], model.roi_head
    monkeypatch.setattr(head.cl_head, "encode", encoded := Spy(head.cl_head.encode))
    monkeypatch.setattr(head.cl_head, "project", projected := Spy(head.cl_head.project))
    monkeypatch.setattr(head.mask_head, "forward", masked := Spy(head.mask_head.forward))
    roi_losses(model, batch)
    chosen = head.mask_rois(results)
    assert not chosen[: int(chosen.sum())].all(), "else the order of rows could not matter"
    assert projected.arguments[0].equal(encoded.result) and len(encoded.result) == len(chosen)
    y = encoded.result[chosen]
    torch.testing.assert_close(masked.arguments[1], self_affinity_average(y) if preset == "official" else y)


# ---------------------------------------------------------------- query groups


def halves(batch: Batch) -> list[Batch]:
    """The first two and the last two images."""
    return [Batch(batch.inputs[s], batch.samples[s], batch.proposals[s]) for s in (slice(0, 2), slice(2, 4))]


@pytest.mark.parametrize("preset", PRESETS)
def test_groups_of_two_images_give_the_mean_of_the_halves(preset: str) -> None:
    batch = make_batch((*IMAGES, (B, A), (D, C)))
    pairs, whole = (build(preset=preset, sigma=1.0, query_group_size=n).eval() for n in (2, 4))
    whole.load_state_dict(pairs.state_dict())
    for model in (pairs, whole):
        model.roi_head.cl_head.train()  # the backbone's BatchNorm must not see the batch, the projector's must
    together = roi_losses(pairs, batch)["loss_contrast"]
    apart = [roi_losses(pairs, half)["loss_contrast"] for half in halves(batch)]
    torch.testing.assert_close(together, sum(apart) / 2, rtol=1e-4, atol=1e-6)
    assert (roi_losses(whole, batch)["loss_contrast"] - together).abs() > 1e-5


def test_a_group_without_objects_counts_as_zero() -> None:
    model = build(sigma=1.0, query_group_size=2).eval()
    batch = make_batch((*IMAGES, (), ()))
    padded = roi_losses(model, batch)["loss_contrast"]
    first = halves(batch)[0]
    torch.testing.assert_close(padded, roi_losses(model, first)["loss_contrast"] / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kept", ["no objects", "too few keys"])
def test_no_roi_to_contrast_is_zero_with_a_gradient(preset: str, kept: str) -> None:
    model = build(preset=preset, min_keys=0 if kept == "no objects" else 10**6)
    loss = roi_losses(model, make_batch(((), ())) if kept == "no objects" else make_batch())["loss_contrast"]
    assert float(loss.detach()) == 0
    loss.backward()
    reached = grads(model.roi_head.cl_head)
    assert {name.split(".")[0] for name in reached} == {"encoder", "projector"}
    assert not any(reached.values())


def test_rows_of_positives_follow_the_real_number_of_samples() -> None:
    batch = make_batch((*IMAGES, ()))
    batch.proposals = [found[:number] for found, number in zip(batch.proposals, (3, 8, 5), strict=True)]
    results, _ = sampling(build(), batch)
    assert len({len(r.priors) for r in results}) > 1
    every, positive = (bbox2roi([getattr(r, n) for r in results]) for n in ("priors", "pos_priors"))
    rows = positive_rows(results)
    assert every[rows].equal(positive)
    naive, start = [], 0
    for r in results:
        naive += range(start, start + len(r.pos_priors))
        start += len(r.pos_priors) + len(r.neg_priors)
    assert rows.tolist() == naive


# ---------------------------------------------------------------- test time


def detections(model: torch.nn.Module, batch: Batch) -> tuple[list, tuple, list[dict]]:
    """Results of the box branch, features and metas."""
    metas = [dict(sample.metainfo) for sample in batch.samples]
    with torch.no_grad():
        features = model.extract_feat(batch.inputs)
        config = model.roi_head.test_cfg
        return model.roi_head.predict_bbox(features, metas, batch.fresh().proposals, config), features, metas


def test_boxes_scores_and_labels_equal_mmdets_own_head() -> None:
    model = build().eval()
    batch = make_batch()
    ours, features, metas = detections(model, batch)
    head = model.roi_head.bbox_head
    plain = ConvFCBBoxHead(
        num_shared_convs=4,
        num_cls_convs=1,
        num_reg_convs=2,
        in_channels=32,
        conv_out_channels=32,
        roi_feat_size=7,
        with_avg_pool=True,
        num_classes=head.num_classes,
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
    ).eval()
    plain.load_state_dict(head.state_dict())
    counts = [len(p) for p in batch.proposals]
    rois = bbox2roi([p.bboxes for p in batch.proposals])
    with torch.no_grad():
        scores, deltas = plain(model.roi_head.bbox_roi_extractor(features[:4], rois))
        theirs = plain.predict_by_feat(
            rois.split(counts), scores.split(counts), deltas.split(counts), metas, model.roi_head.test_cfg
        )
    for mine, other in zip(ours, theirs, strict=True):
        assert len(mine) > 5
        for field in ("bboxes", "scores", "labels"):
            torch.testing.assert_close(mine[field], other[field])


def test_kept_proposals_are_those_that_yield_the_boxes() -> None:
    model = build().eval()
    batch = make_batch()
    results, features, metas = detections(model, batch)
    head = model.roi_head
    rois = bbox2roi([r.proposals for r in results])
    with torch.no_grad():
        found = head._bbox_forward(features, rois)
    labels = torch.cat([r.labels for r in results])
    deltas = found["bbox_pred"].view(len(rois), -1, 4)[torch.arange(len(rois)), labels]
    boxes = head.bbox_head.bbox_coder.decode(rois[:, 1:], deltas, max_shape=metas[0]["img_shape"])
    torch.testing.assert_close(boxes, torch.cat([r.bboxes for r in results]), rtol=1e-4, atol=1e-3)
    scores = found["cls_score"].softmax(-1)[torch.arange(len(rois)), labels]
    torch.testing.assert_close(scores, torch.cat([r.scores for r in results]), rtol=1e-4, atol=1e-5)
    for mine, proposals in zip(results, batch.proposals, strict=True):
        assert all((proposals.bboxes == p).all(1).any() for p in mine.proposals)


@pytest.mark.parametrize("which", ["proposal", "refined"])
def test_a_detections_map_is_its_classs_in_the_named_box_and_its_mask_of_the_refined(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(cam_box=which).eval()
    head, (results, features, metas) = model.roi_head, detections(model, make_batch())
    labels = torch.cat([r.labels for r in results])
    proposals, refined = (bbox2roi([r[name].clone() for r in results]) for name in ("proposals", "bboxes"))
    expected = maps_of(head, features, proposals if which == "proposal" else refined, labels)
    monkeypatch.setattr(head, "_mask_logits", logits := Spy(head._mask_logits))
    monkeypatch.setattr(head.mask_head, "forward", masked := Spy(head.mask_head.forward))
    with torch.no_grad():
        found = head.predict_mask(features, metas, results, rescale=True)
    torch.testing.assert_close(masked.arguments[2], expected, rtol=1e-3, atol=1e-4)
    assert logits.arguments[1].equal(refined)
    assert not proposals.equal(refined) and len(labels.unique()) > 1
    assert all("proposals" not in r and len(r.masks) == len(r.bboxes) for r in found)


# ---------------------------------------------------------------- mixed precision


@pytest.mark.parametrize("preset", PRESETS)
def test_contrastive_loss_is_fp32_under_autocast(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.contrastive_loss

    def checked(features: torch.Tensor, *rest: object) -> torch.Tensor:
        assert features.dtype == torch.float32
        assert not torch.is_autocast_enabled("cpu")
        return real(features, *rest)

    monkeypatch.setattr(module, "contrastive_loss", checked)
    with torch.autocast("cpu", torch.bfloat16):
        loss = roi_losses(build(preset=preset), make_batch())["loss_contrast"]
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
