"""Learning curves from a run's spool."""

import json
from pathlib import Path

import pytest

from contrastmask.report.curves import BINS, draw_curves, read_losses


def spool(path: Path, points: int, loss: str = "loss_mask") -> Path:
    events = [{"event": "run", "time": 0, "id": "x", "experiment": "e", "name": "a"}]
    events += [
        {"event": "metrics", "time": 0, "step": i, "values": {f"train/{loss}": float(points - i), "train/lr": 1.0}}
        for i in range(points)
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def test_points_are_means_of_a_share_of_the_training(tmp_path: Path) -> None:
    curve = read_losses(spool(tmp_path / "a", 10 * BINS))["loss_mask"]
    assert len(curve) == BINS
    assert curve[0] == pytest.approx((4.5, 10 * BINS - 4.5))


def test_a_short_training_keeps_all_points(tmp_path: Path) -> None:
    assert read_losses(spool(tmp_path / "a", 3))["loss_mask"] == [(0, 3), (1, 2), (2, 1)]


def test_a_loss_that_only_one_run_has_is_drawn(tmp_path: Path) -> None:
    losses = {"a": read_losses(spool(tmp_path / "a", 5)), "b": read_losses(spool(tmp_path / "b", 5, "loss_contrast"))}
    figure = draw_curves(losses, "a note")
    assert [axes.get_title() for axes in figure.axes] == ["loss_mask", "loss_contrast"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
