"""How far what a recording keeps is from all logits, measured while these are still at hand."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from limbeck.divergences import Divergence, kl
from limbeck.records import Panel
from limbeck.signals import Signals
from limbeck.targets.dense import DenseTargets
from limbeck.targets.distance import Distance, distances
from limbeck.targets.protocol import SoftTargets

_NUMBERS = 1 << 22  # logits that are looked at; in float64 and with gradients about 200 MB


@dataclass(frozen=True)
class Fidelity:
    """The distance from all logits of some of a recording's first answers, at each temperature they answer at.

    What a student is told differs with what it says itself. The student here is one that learns still: the teacher's
    logits with Gaussian noise of one nat, always the same.

    Attributes:
        positions: How many answers were measured: rows, or positions of rows.
        distances: For each divergence and temperature asked for, and for `kl` at each temperature that is stored.
    """

    positions: int
    distances: tuple[Distance, ...]

    def panel(self, name: str, teacher: str, asked: Iterable[tuple[Divergence, float]]) -> Panel:
        """A table of the distances at the divergences and temperatures a run asks at; None for what was not measured.

        Args:
            name: That of the panel, once in a record.
            teacher: Whose answers were kept.
            asked: What the run asks.
        """
        known = {(each.divergence, each.temperature): each for each in self.distances}
        rows = []
        for of, temperature in sorted((divergence.__name__, temperature) for divergence, temperature in asked):
            found = known.get((of, temperature))
            numbers = [None] * 4 if found is None else [found.dense, found.kept, found.gradient, found.cosine]
            rows.append([of, temperature, *numbers])
        title = (
            f"What keeping the answers of {teacher} costs: {self.positions} answers, a student a nat of noise away, "
            "values in nats"
        )
        columns = ["divergence", "T", "from all logits", "from what was kept", "gradient off by", "cosine of gradients"]
        return Panel(name, title, "table", {"columns": columns, "rows": rows})

    def sentences(self) -> list[str]:
        """Each distance as a person reads it."""
        return [
            f"{each.divergence} at T={each.temperature:g}: {each.kept:.4g} of {each.dense:.4g} nats, "
            f"gradient off by {100 * each.gradient:.2g} %"
            for each in self.distances
        ]


def measured(kept: SoftTargets, said: Signals, asked: Iterable[tuple[Divergence, float]]) -> Fidelity | None:
    """What is lost of some answers; None where nothing is, nothing was said, or not all logits are known.

    The distances are rounded to 5 digits, so that the last bits of a sum do not decide the bytes of a manifest.

    Args:
        kept: The targets as they would be read back, on the CPU.
        said: The answers they were made of, with their logits.
        asked: Divergences and temperatures that will be asked for.
    """
    if said.outputs is None:
        return None
    places = _places(said.outputs, said.said)
    logits, here = said.logits_at(places.nonzero(as_tuple=True)).detach().cpu(), kept.rows(places)
    if isinstance(here, DenseTargets) and torch.equal(here.logits, logits):
        return None
    teacher = logits.double()
    wanted = {(divergence.__name__, temperature): divergence for divergence, temperature in asked}
    wanted |= {(kl.__name__, temperature): kl for temperature in kept.temperatures}
    if not len(teacher) or not wanted:
        return None
    student = _student(teacher)
    found = []
    for (_, temperature), divergence in sorted(wanted.items(), key=lambda pair: pair[0]):
        found += distances(here, teacher, student, divergence, (temperature,))
    return Fidelity(len(teacher), tuple(map(_rounded, found)))


def _places(shape: tuple[int, ...], said: Bool[Tensor, " rows"] | None) -> Bool[Tensor, "*rows"]:
    """Which answers are measured: evenly spread over those that were given, as many as their logits leave room for."""
    given = torch.ones(shape[:-1], dtype=torch.bool)
    if said is not None:
        given[~said.cpu()] = False
    there = given.flatten().nonzero().squeeze(1)
    count = min(len(there), max(1, _NUMBERS // shape[-1]))
    chosen = torch.zeros(given.numel(), dtype=torch.bool)
    chosen[there[torch.linspace(0, len(there) - 1, count).long()]] = True
    return chosen.view(given.shape)


def _student(teacher: Float[Tensor, "rows classes"]) -> Float[Tensor, "rows classes"]:
    noise = torch.randn(teacher.shape, generator=torch.Generator().manual_seed(0), dtype=teacher.dtype)
    # A student holds nothing impossible, whatever its teacher does.
    likely = torch.where(teacher.isinf(), torch.inf, teacher).amin(dim=-1, keepdim=True)
    return torch.maximum(teacher, likely) + noise


def _rounded(distance: Distance) -> Distance:
    def five(number: float) -> float:
        return float(f"{number:.5g}")

    return replace(
        distance,
        dense=five(distance.dense),
        kept=five(distance.kept),
        gradient=five(distance.gradient),
        cosine=five(distance.cosine),
    )
