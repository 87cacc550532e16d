"""What a run will cost, from what others did cost: time of an iteration, time of an image at evaluation, bytes.

Costs of systems differ by factors, so everything is done on logarithms. What is known best is used first:

1. the same system (method, backbone and options), in another setting, schedule or seed;
2. the same method and backbone with other options;
3. a factor of the method times a factor of the backbone, fitted to all that is known (least squares);
4. systems with the same backbone, else of the same method, else any.

An interval is the estimate times exp(±2 sd), which holds about nine of ten new costs if relative errors are normal (a
test simulates it). sd is the spread of what is known around estimates of the same kind, but at least FLOOR of the kind,
since two agreeing runs do not show that all will.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

#: Least relative standard deviation of an estimate of each kind; assumed. 0.7 is a factor of 4 either way.
FLOOR = {"same system": 0.05, "other options": 0.10, "factors": 0.20, "other systems": 0.70}
#: The same of anything that rests on a calibration: a few steps, without reading images, at one moment's load.
CALIBRATED = 0.25


@dataclass(frozen=True)
class System:
    """What the cost of an iteration depends on. `variant` stands for preset, options and free configuration."""

    method: str
    backbone: str
    variant: str = ""


@dataclass(frozen=True)
class Estimate:
    """A quantity with its interval and the kind of knowledge behind it, a key of FLOOR."""

    value: float
    low: float
    high: float
    basis: str

    def times(self, factor: float) -> "Estimate":
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.basis)

    def plus(self, other: "Estimate") -> "Estimate":
        """The sum, on the larger part's basis; both at their low or high end at once: a slow machine slows all."""
        basis = self.basis if self.value >= other.value else other.basis
        return Estimate(self.value + other.value, self.low + other.low, self.high + other.high, basis)


def total(estimates: Iterable[Estimate]) -> Estimate | None:
    """The sum of estimates, None of none."""
    result = None
    for estimate in estimates:
        result = estimate if result is None else result.plus(estimate)
    return result


class Costs:
    """One positive quantity, observed on some systems, to be expected of others.

    Args:
        observed: systems with what was measured, any number of times each.
        least: relative standard deviation that no estimate goes below.
    """

    def __init__(self, observed: Sequence[tuple[System, float]], least: float = 0.0) -> None:
        self.least = least
        self.observed = [(system, math.log(value)) for system, value in observed if value > 0]
        self.systems = [system for system, _ in self.observed]
        self.logs = np.array([log for _, log in self.observed])
        self._known: dict[System, Estimate | None] = {}

    def expect(self, system: System) -> Estimate | None:
        """None where nothing at all is known."""
        if system not in self._known:
            self._known[system] = self._expect(system)
        return self._known[system]

    def _expect(self, system: System) -> Estimate | None:
        if not self.observed:
            return None
        for basis, key in (("same system", _itself), ("other options", _pair)):
            logs = self._like(system, key)
            if len(logs):
                sd = self._spread(key) * math.sqrt(1 + 1 / len(logs))
                return self._estimate(float(logs.mean()), sd, basis)
        return self._by_factors(system) or self._by_others(system)

    def _like(self, system: System, key: Callable[[System], Hashable]) -> np.ndarray:
        return self.logs[[key(known) == key(system) for known in self.systems]]

    def _spread(self, key: Callable[[System], Hashable]) -> float:
        """Pooled standard deviation within groups of equal key, 0 where no group has two."""
        groups = defaultdict(list)
        for system, log in self.observed:
            groups[key(system)].append(log)
        squares = sum(float(np.var(logs)) * len(logs) for logs in groups.values())
        freedom = len(self.observed) - len(groups)
        return math.sqrt(squares / freedom) if freedom else 0.0

    def _by_factors(self, system: System) -> Estimate | None:
        """A method's factor times a backbone's; None where what is known does not determine the product."""
        columns = sorted(
            {("method", s.method) for s in self.systems} | {("backbone", s.backbone) for s in self.systems}
        )
        place = {column: i for i, column in enumerate(columns)}
        asked = [("method", system.method), ("backbone", system.backbone)]
        if not all(part in place for part in asked):
            return None
        design = np.zeros((len(self.observed), len(columns)))
        for line, known in enumerate(self.systems):
            design[line, [place["method", known.method], place["backbone", known.backbone]]] = 1
        target = np.zeros(len(columns))
        target[[place[part] for part in asked]] = 1
        inverse = np.linalg.pinv(design)
        if not np.allclose(target @ inverse @ design, target, atol=1e-6):
            return None
        freedom = len(self.observed) - np.linalg.matrix_rank(design)
        residuals = self.logs - design @ (inverse @ self.logs)
        sd = math.sqrt(float(residuals @ residuals) / freedom) if freedom else 0.0
        return self._estimate(float(target @ inverse @ self.logs), sd, "factors")

    def _by_others(self, system: System) -> Estimate:
        alike = (self._like(system, lambda s: s.backbone), self._like(system, lambda s: s.method), self.logs)
        logs = next(group for group in alike if len(group))
        return self._estimate(float(logs.mean()), float(logs.std()), "other systems")

    def _estimate(self, log: float, sd: float, basis: str) -> Estimate:
        sd = max(sd, FLOOR[basis], self.least)
        return Estimate(math.exp(log), math.exp(log - 2 * sd), math.exp(log + 2 * sd), basis)


def _itself(system: System) -> Hashable:
    return system


def _pair(system: System) -> Hashable:
    return system.method, system.backbone


@dataclass(frozen=True)
class Knowledge:
    """What is known about costs at one scale on one machine."""

    iteration: Costs
    """Seconds of a training iteration."""
    image: Costs
    """Seconds of an image at evaluation."""
    size: Costs
    """Bytes that a finished run keeps."""
    startup: float
    """Seconds of a process before and after its work."""
    source: str
    """Where this comes from, for a person; "" if nothing is known."""


@dataclass(frozen=True)
class Cost:
    """Of a run or a part of it: seconds on its GPUs or CPU threads, and bytes kept; None where unknown."""

    seconds: Estimate | None
    size: Estimate | None


def expected_cost(system: System, iterations: int | None, images: int | None, knowledge: Knowledge) -> Cost:
    """What `iterations` of training and the evaluation of `images` will take; 0 of one leaves it out, None is unknown.

    The size is that of the finished run.
    """
    parts = []
    for count, costs in ((iterations, knowledge.iteration), (images, knowledge.image)):
        if count == 0:
            continue
        each = None if count is None else costs.expect(system)
        if each is None or count is None:
            return Cost(None, knowledge.size.expect(system))
        start = Estimate(*(knowledge.startup,) * 3, basis=each.basis)
        parts.append(each.times(count).plus(start))
    return Cost(total(parts), knowledge.size.expect(system))


def cheapest_sufficient(
    wanted: Iterable[System], known: Iterable[System], price: Callable[[System], tuple[float, int]]
) -> list[System]:
    """The cheapest systems to measure so that, with the `known`, every wanted one follows from factors.

    Factors of methods and backbones follow from measurements that connect them: a spanning tree of the graph whose
    edges are systems between their method and their backbone (Kruskal).
    """
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    def join(system: System) -> bool:
        a, b = root(("method", system.method)), root(("backbone", system.backbone))
        parent[a] = b
        return a != b

    for system in known:
        join(system)
    return [system for system in sorted(wanted, key=lambda s: (price(s), s.variant)) if join(system)]
