"""The endless stream of training images: it can be entered anywhere and is always the same."""

import random
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contrastmask.training.stream import Stream, StreamSampler


class Images:
    """A data set whose items draw from the global generators, as mmdet's transforms do."""

    metainfo: dict = {}  # noqa: RUF012

    def __init__(self, portrait: list[bool]) -> None:
        self.portrait = portrait

    def __len__(self) -> int:
        return len(self.portrait)

    def get_data_info(self, index: int) -> dict:
        return {"height": 20 if self.portrait[index] else 10, "width": 10}

    def __getitem__(self, index: int) -> tuple[int, float, float]:
        return index, float(np.random.rand()), random.random()


MIXED = [n % 3 == 0 for n in range(23)]  # 8 portraits, 15 others
few = settings(max_examples=40, deadline=None)


@few
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 9), st.integers(0, 5), st.integers(1, 4))
def test_every_epoch_is_a_permutation(portrait: list[bool], seed: int, epoch: int, neighbours: int) -> None:
    stream = Stream(Images(portrait), seed, neighbours)
    assert sorted(stream.order(epoch).tolist()) == list(range(len(portrait)))


@few
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 9), st.integers(1, 4))
def test_neighbours_share_orientation_except_leftovers(portrait: list[bool], seed: int, neighbours: int) -> None:
    order = Stream(Images(portrait), seed, neighbours).order(0)
    whole = sum(count // neighbours for count in (sum(portrait), len(portrait) - sum(portrait)))
    for n in range(whole):
        assert len({portrait[i] for i in order[n * neighbours : (n + 1) * neighbours]}) == 1


def test_epochs_and_seeds_differ_and_portraits_are_not_all_last() -> None:
    stream, other = Stream(Images(MIXED), 0, 2), Stream(Images(MIXED), 1, 2)
    assert stream.order(0).tolist() != stream.order(1).tolist()
    assert stream.order(0).tolist() != other.order(0).tolist()
    assert stream[0][1:] != other[0][1:]  # the same image would be changed otherwise
    ends = [MIXED[Stream(Images(MIXED), seed, 2).order(0)[0]] for seed in range(20)]
    assert 0 < sum(ends) < 20


def test_augmentation_of_an_image_differs_between_epochs() -> None:
    stream = Stream(Images([False]), 0, 1)
    assert len({stream[p] for p in range(5)}) == 5


def test_a_position_gives_the_same_item_whatever_came_before() -> None:
    expected = {p: Stream(Images(MIXED), 4, 2)[p] for p in (0, 5, 22, 23, 60)}
    stream = Stream(Images(MIXED), 4, 2)
    for p in (60, 0, 23, 5, 22, 0, 60):
        np.random.rand(7)
        random.random()
        assert stream[p] == expected[p]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_position_gives_the_same_item_for_every_number_of_workers(workers: int) -> None:
    stream = Stream(Images(MIXED), 4, 2)
    positions = list(range(17, 29))  # over the end of an epoch
    loader = torch.utils.data.DataLoader(stream, sampler=positions, batch_size=2, num_workers=workers, collate_fn=list)
    assert [item for batch in loader for item in batch] == [Stream(Images(MIXED), 4, 2)[p] for p in positions]


@few
@given(st.integers(0, 50), st.integers(0, 20), st.integers(1, 4), st.integers(1, 5))
def test_processes_cover_every_position_once(start: int, length: int, images: int, world: int) -> None:
    samplers = [StreamSampler(start, start + length, images, (rank, world)) for rank in range(world)]
    drawn = [list(sampler) for sampler in samplers]
    assert [len(d) for d in drawn] == [len(s) for s in samplers] == [length * images] * world
    batch = images * world
    assert sorted(chain.from_iterable(drawn)) == list(range(start * batch, (start + length) * batch))
    for d in drawn:
        for n in range(0, len(d), images):  # neighbours stay together
            assert d[n] % images == 0
            assert d[n : n + images] == list(range(d[n], d[n] + images))


def test_resuming_reads_on_where_the_stream_stopped() -> None:
    whole = list(StreamSampler(0, 10, 2, (1, 3)))
    assert list(StreamSampler(0, 4, 2, (1, 3))) + list(StreamSampler(4, 10, 2, (1, 3))) == whole


def test_two_gpus_of_two_images_see_the_batch_of_one_gpu_of_four() -> None:
    for iteration in range(3):
        one = list(StreamSampler(iteration, iteration + 1, 4, (0, 1)))
        two = [list(StreamSampler(iteration, iteration + 1, 2, (rank, 2))) for rank in range(2)]
        assert two[0] + two[1] == one


def test_an_empty_data_set_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to train on"):
        Stream(Images([]), 0, 2)
