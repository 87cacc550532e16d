"""The comparison with the released code, as far as it goes without a checkout of it."""

from pathlib import Path

import pytest
import torch

from benchmarks import released


def test_without_a_checkout_it_says_so_and_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert released.main([]) == 0
    assert released.main(["--theirs", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and all(line.startswith("skipped: ") and "ContrastMask" in line for line in said)


def test_both_sides_get_rois_that_give_keys() -> None:
    masks, maps, novel, features = released.inputs()
    regions, keys = released.our_keys(masks, maps, novel)
    assert features.shape == (256, 784, 256)
    assert 0.15 < novel.float().mean() < 0.35
    kept = torch.stack([s.flatten(1).any(1) for s in keys.sets()]).all(0)
    assert kept[novel].float().mean() > 0.5 and kept[~novel].float().mean() > 0.9
    assert all(region.any() for region in regions)


def test_a_ratio_is_the_median_of_neighbours() -> None:
    readings = [[(2.0, 4.0), (1.0, 1.0)], [(9.0, 3.0), (3.0, 1.0)], [(4.0, 9.0), (1.0, 3.0)]]
    assert released.line("x", readings) == ["x", "4.000", "1.000", "3.0", "2.0 - 4.0", "3.0"]
