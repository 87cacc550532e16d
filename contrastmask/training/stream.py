"""The training images as one endless stream that can be entered anywhere.

Position p of the stream is image order[p] under augmentation randomness drawn from (seed, p). A training that resumes
at iteration i reads on at position i x batch and sees what it would have seen without the interruption, whatever the
number of loader processes.
"""

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import Dataset, Sampler

from contrastmask.errors import DataError

if TYPE_CHECKING:
    from mmdet.datasets import CocoDataset


@DATASETS.register_module()
class Stream(Dataset):
    """Images in an order that is shuffled anew in each epoch, neighbours of one orientation.

    Args:
        dataset: mmdet's dataset, or its configuration.
        seed: of order and augmentation.
        neighbours: images that lie together in a batch on a GPU; they get one orientation, which saves padding
            (mmdet's AspectRatioBatchSampler does the same).
    """

    def __init__(self, dataset: "CocoDataset | dict", seed: int, neighbours: int) -> None:
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        if len(dataset) == 0:
            raise DataError("no training image has an object that is no crowd and 1 px or more: nothing to train on")
        self.dataset, self.seed, self.neighbours = dataset, seed, neighbours
        self.metainfo = dataset.metainfo
        infos = (dataset.get_data_info(index) for index in range(len(dataset)))
        self.portrait = np.array([info["height"] > info["width"] for info in infos])
        self._epoch, self._order = -1, np.empty(0, dtype=int)

    def order(self, epoch: int) -> np.ndarray:
        """Indices of an epoch: a random permutation, regrouped so that `neighbours` in a row share orientation."""
        if epoch != self._epoch:
            shuffled = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
            self._epoch, self._order = epoch, self._regroup(shuffled)
        return self._order

    def _regroup(self, shuffled: np.ndarray) -> np.ndarray:
        groups: list[np.ndarray] = []
        for portrait in (False, True):
            same = shuffled[self.portrait[shuffled] == portrait]
            groups += np.split(same, range(self.neighbours, len(same), self.neighbours))
        whole = [group for group in groups if len(group) == self.neighbours]
        rest = [group for group in groups if len(group) < self.neighbours]
        # without this shuffle all portraits would come last; it is keyed by the permutation itself
        np.random.default_rng(shuffled[:8]).shuffle(whole)
        return np.concatenate(whole + rest)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> dict:
        epoch, offset = divmod(position, len(self.dataset))
        numbers = np.random.SeedSequence([self.seed, position]).generate_state(2)
        np.random.seed(numbers[0])  # mmdet's transforms draw from the global generators
        random.seed(int(numbers[1]))
        return self.dataset[int(self.order(epoch)[offset])]


@DATA_SAMPLERS.register_module()
class StreamSampler(Sampler):
    """Positions of one process: in each iteration `world` processes take `images` neighbours each.

    Args:
        start, stop: iterations.
        images: images of this process in an iteration.
        place: rank of this process and number of all; by default as torch.distributed has it.
        kwargs: the dataset and a seed, which mmengine hands to every sampler; the stream has its own.
    """

    def __init__(
        self, start: int, stop: int, images: int, place: tuple[int, int] | None = None, **kwargs: object
    ) -> None:
        self.iterations, self.images = range(start, stop), images
        self.rank: int
        self.world: int
        self.rank, self.world = place or get_dist_info()

    def __len__(self) -> int:
        return len(self.iterations) * self.images

    def __iter__(self) -> Iterator[int]:
        for iteration in self.iterations:
            first = (iteration * self.world + self.rank) * self.images
            yield from range(first, first + self.images)
