"""Cutting a step into parts, and what a part draws."""

from contrastmask.training.steps import cut, part_seed


def test_a_batch_is_cut_in_order_and_whole() -> None:
    batch = {"inputs": [0, 1, 2, 3], "data_samples": list("abcd")}
    assert cut(batch, 2) == [
        {"inputs": [0, 1], "data_samples": ["a", "b"]},
        {"inputs": [2, 3], "data_samples": ["c", "d"]},
    ]
    assert cut(batch, 4) == [batch]


def test_parts_have_their_own_randomness_and_the_same_again() -> None:
    drawn = [part_seed(0, 0, 0), part_seed(0, 0, 1), part_seed(0, 1, 0), part_seed(1, 0, 0)]
    assert len(set(drawn)) == 4 and all(0 <= seed < 2**63 for seed in drawn)
    assert part_seed(0, 0, 1) == drawn[1]
