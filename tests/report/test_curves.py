"""Learning curves from a run's folder."""

from pathlib import Path

import pytest

from contrastmask.report.curves import BINS, draw_curves, read_losses
from contrastmask.tracking.curves import Curves


def of_run(folder: Path, points: int, loss: str = "loss_mask") -> Path:
    """A run's folder with so many points of falling losses."""
    curves = Curves(folder)
    for step in range(points):
        curves.metrics({f"train/{loss}": float(points - step), "train/lr": 1.0}, step)
    return folder


def test_points_are_means_of_a_share_of_the_training(tmp_path: Path) -> None:
    curve = read_losses(of_run(tmp_path / "a", 10 * BINS))["loss_mask"]
    assert len(curve) == BINS
    assert curve[0] == pytest.approx((4.5, 10 * BINS - 4.5))


def test_a_short_training_keeps_all_points(tmp_path: Path) -> None:
    assert read_losses(of_run(tmp_path / "a", 3))["loss_mask"] == [(0, 3), (1, 2), (2, 1)]


def test_a_loss_that_only_one_run_has_is_drawn(tmp_path: Path) -> None:
    losses = {"a": read_losses(of_run(tmp_path / "a", 5)), "b": read_losses(of_run(tmp_path / "b", 5, "loss_contrast"))}
    figure = draw_curves(losses, "a note")
    assert [axes.get_title() for axes in figure.axes] == ["loss_mask", "loss_contrast"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
