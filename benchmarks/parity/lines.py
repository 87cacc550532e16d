"""A line for each comparison, and how many differ."""

from typing import Any

import torch

results: list[bool] = []


def say(item: str, ran: str, difference: float, bound: float) -> None:
    """Print what was compared, on how much, the difference, and whether it is within the bound."""
    results.append(difference <= bound)
    word = "agree " if results[-1] else "DIFFER"
    print(f"{word} | {item} | {ran} | {difference:.3g} (bound {bound:.3g})", flush=True)


def gap(a: Any, b: Any) -> float:
    """Largest absolute difference."""
    a, b = torch.as_tensor(a).detach(), torch.as_tensor(b).detach()
    return float((a.double() - b.double()).abs().max()) if a.numel() else 0.0


def relative(a: Any, b: Any) -> float:
    """Largest absolute difference over the largest absolute value of b."""
    return gap(a, b) / max(float(torch.as_tensor(b).detach().abs().max()), 1e-12) if torch.as_tensor(a).numel() else 0.0


def summary() -> int:
    """Print how many differ; 1 if any does."""
    print(f"\n{len(results)} comparisons, {results.count(False)} differ")
    return int(not all(results))
