"""The next token of a text: what it costs, position by position, over a vocabulary too large to keep answers about."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from limbeck.divergences import kl, log_mean
from limbeck.metrics.classes import binned_error, reliability_data
from limbeck.metrics.known import check_class_numbers, counted
from limbeck.notation import spelled
from limbeck.partial import likelihoods
from limbeck.precision import wide
from limbeck.records import Panel
from limbeck.targets.topk import TopKTargets
from limbeck.task import LabelKind, Meaning

_KEPT = 64
_COST, _ANSWER, _SURE, _ENTROPY, _FROM_TEACHER = range(5)
_NUMBERS = 5
_SHOWN, _BEFORE, _LIKELIEST = 24, 12, 4


class Language:
    """Each position of a text is followed by a token. Labels are the next tokens' numbers.

    Outputs are logits over the vocabulary, of which a digest is kept at each position whose label is known: what the
    label cost, the likeliest token, its probability, the entropy, KL(teacher || model), and the likeliest symbols. The
    metrics over all these positions: `nll` (nats a token), `perplexity` (its exponential), `accuracy` (the likeliest
    token is the next one, 0 to 1), `ece` (0 to 1) and `entropy` (nats).
    """

    name: ClassVar[str] = "language"
    labels: ClassVar[LabelKind] = "tokens"
    learnt: ClassVar[frozenset[str]] = frozenset()
    baseline_name: ClassVar[str] = ""
    says: ClassVar[frozenset[Meaning]] = frozenset({"classes"})
    selection: ClassVar[str] = "nll"
    higher_is_better: ClassVar[bool] = False
    headline: ClassVar[tuple[str, ...]] = ("perplexity", "nll", "accuracy", "ece")
    objective: ClassVar[str] = "0.9 * kd(temperature=1) + 0.1 * labels"

    def __repr__(self) -> str:
        return spelled(self)

    def fitted(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."]) -> "Language":
        """Itself: it needs to know nothing of the labels beforehand."""
        return self

    def restore(self) -> None:
        """Logits are what the network says."""

    def check_labels(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."], classes: Sequence[str]) -> None:
        """Checks that each known label is the number of a token.

        Raises:
            DataError: When labels are no whole numbers, or out of range.
        """
        check_class_numbers(labels, known, classes)

    def output_size(self, classes: Sequence[str]) -> int:
        """One logit for each token, at each position."""
        return len(classes)

    def mean(self, answers: Sequence[Float[Tensor, "..."]], weights: Sequence[float]) -> Float[Tensor, "..."]:
        """The logarithms of the mean probabilities of each position."""
        return log_mean(answers, weights)

    def label_loss(
        self, outputs: Float[Tensor, "*rows tokens"], labels: Int[Tensor, "*rows"]
    ) -> Float[Tensor, "*rows"]:
        """Cross-entropy in nats for each position, in at least float32."""
        return -likelihoods(outputs, labels[..., None].long())[..., 0]

    def digest(
        self,
        outputs: Float[Tensor, "positions tokens"],
        labels: Int[Tensor, "positions"],
        teacher: Float[Tensor, "positions kept"] | None,
    ) -> Float[Tensor, "positions kept"]:
        """What is kept of some positions; the KL is over the teacher's 64 likeliest tokens and all others in one."""
        logits = wide(outputs)
        said = torch.log_softmax(logits, dim=-1)
        sure, answer = said.max(dim=-1)
        cost = -said.gather(-1, labels[:, None].long())[:, 0]
        # A token of probability 0 adds nothing.
        entropy = -torch.where(said.isneginf(), 0.0, said.exp() * said).sum(dim=-1)
        likeliest = TopKTargets.of(said, _KEPT)
        gap = torch.zeros_like(cost)
        if teacher is not None:
            gap = _targets(teacher.to(logits), logits.shape[-1]).divergence(kl, logits, 1.0)
        numbers = torch.stack([cost, answer.to(said), sure.exp(), entropy, gap], dim=-1)
        # No tail is left where there are no more symbols than are kept.
        tails = likeliest.tails.clamp(min=torch.finfo(torch.float32).min)
        return torch.cat([numbers, likeliest.symbols.to(said), likeliest.logits, tails], dim=-1).float()

    def metrics(
        self,
        outputs: Float[Tensor, "rows positions kept"],
        labels: Int[Tensor, "rows positions"],
        known: Bool[Tensor, "rows positions"],
        classes: Sequence[str] = (),
    ) -> dict[str, float]:
        """See the class; from digests.

        Raises:
            DataError: When no label is known.
            ModelError: When the model said something that is no number.
        """
        digests, truth = counted(outputs, labels, known)
        nll = float(digests[:, _COST].mean())
        right = (digests[:, _ANSWER].long() == truth).double()
        return {
            "nll": nll,
            # Past the largest float there is no perplexity to tell apart.
            "perplexity": math.exp(min(nll, 700.0)),
            "accuracy": float(right.mean()),
            "ece": binned_error(digests[:, _SURE], right),
            "entropy": float(digests[:, _ENTROPY].mean()),
        }

    def baseline(self, inputs: Shaped[Tensor, "rows ..."]) -> Tensor:
        """There is none."""
        raise NotImplementedError

    def likeness(
        self, outputs: Float[Tensor, "rows positions kept"], teacher: Float[Tensor, "rows positions kept"]
    ) -> dict[str, float]:
        """Share of positions with the same likeliest token, and the mean of KL(teacher || student) in nats.

        From digests: the KL is a lower bound, over the teacher's 64 likeliest tokens and all others in one.
        """
        there = (outputs[..., _SURE] > 0) & (teacher[..., _SURE] > 0)
        ours, theirs = outputs[there].double(), teacher[there].double()
        agreement = (ours[:, _ANSWER] == theirs[:, _ANSWER]).double().mean()
        return {"agreement": float(agreement), "kl": float(ours[:, _FROM_TEACHER].mean())}

    def decode(
        self, outputs: Float[Tensor, "rows positions tokens"], classes: Sequence[str]
    ) -> list[Mapping[str, object]]:
        """For each row the likeliest token after its last position, and its probability; from all logits."""
        chances, places = torch.softmax(outputs[:, -1].detach().float().cpu(), dim=-1).max(dim=-1)
        return [
            {"next": readable(classes[place]), "probability": chance}
            for place, chance in zip(places.tolist(), chances.tolist(), strict=True)
        ]

    def panels(
        self,
        outputs: Float[Tensor, "rows positions kept"],
        labels: Int[Tensor, "rows positions"],
        known: Bool[Tensor, "rows positions"],
        classes: Sequence[str],
    ) -> list[Panel]:
        """What a token costs by its position in the row, and the reliability of the likeliest token.

        Raises:
            DataError: When no label is known.
        """
        digests, truth = counted(outputs, labels, known)
        right = (digests[:, _ANSWER].long() == truth).double()
        data = reliability_data(digests[:, _SURE], right) | {"x_label": "confidence", "y_label": "accuracy"}
        return [
            Panel("reliability", "Reliability: accuracy by confidence", "curve", data),
            Panel("by_position", "Cost of a token by its position in the row", "table", _by_position(outputs, known)),
        ]

    def teacher_saw(
        self,
        inputs: Shaped[Tensor, "rows ..."],
        teacher: Float[Tensor, "rows positions kept"],
        labels: Int[Tensor, "rows positions"],
        known: Bool[Tensor, "rows positions"],
        classes: Sequence[str],
        temperature: float,
    ) -> Panel:
        """Places where the teacher wavered: the text before, the token that came, and what it held for likely."""
        digests = teacher * known[..., None]
        doubt = torch.where(known, digests[..., _ENTROPY], -1.0)
        rows, places = _apart(doubt)
        lines = []
        for row, place in zip(rows, places, strict=True):
            before = inputs[row, 0, max(0, place - _BEFORE + 1) : place + 1].tolist()
            symbols, chances = _likeliest(digests[row, place])
            said = ", ".join(
                f"{readable(classes[symbol])!r} {chance:.0%}" for symbol, chance in zip(symbols, chances, strict=True)
            )
            text = "".join(readable(classes[token]) for token in before if token < len(classes))
            lines.append([text, readable(classes[int(labels[row, place])]), said])
        data = {"columns": ["text", "next", "what the teacher held for likely"], "rows": lines}
        return Panel("teacher_saw", "Where the teacher wavered", "table", data)


def readable(token: str) -> str:
    """A token's text with the marks of byte-level and sentence-piece vocabularies read as what they stand for."""
    return token.replace("Ġ", " ").replace("Ċ", "\n").replace("▁", " ")


def _targets(digest: Float[Tensor, "positions kept"], tokens: int) -> TopKTargets:
    count = (digest.shape[-1] - _NUMBERS - 1) // 2
    symbols = digest[:, _NUMBERS : _NUMBERS + count].long()
    logits, tails = digest[:, _NUMBERS + count : -1], digest[:, -1:]
    return TopKTargets(symbols, logits, tails, (1.0,), tokens)


def _likeliest(digest: Float[Tensor, " kept"]) -> tuple[list[int], list[float]]:
    count = (len(digest) - _NUMBERS - 1) // 2
    symbols, logs = digest[_NUMBERS : _NUMBERS + count], digest[_NUMBERS + count : -1]
    best = logs.topk(min(_LIKELIEST, count)).indices
    return symbols[best].long().tolist(), logs[best].exp().tolist()


def _apart(doubt: Float[Tensor, "rows positions"]) -> tuple[list[int], list[int]]:
    """The most doubtful position of each row, for the rows that doubt most."""
    most, places = doubt.max(dim=1)
    rows = most.argsort(descending=True, stable=True)
    kept = [row for row in rows.tolist() if float(most[row]) >= 0][:_SHOWN]
    return kept, [int(places[row]) for row in kept]


def _by_position(
    digests: Float[Tensor, "rows positions kept"], known: Bool[Tensor, "rows positions"]
) -> dict[str, object]:
    positions = known.shape[1]
    edges = [0, *(edge for edge in (16, 64, 256, 1024, 4096) if edge < positions), positions]
    lines = []
    for start, end in itertools.pairwise(edges):
        there = known[:, start:end]
        if bool(there.any()):
            cost = digests[:, start:end, _COST][there].double()
            lines.append([f"{start + 1} to {end}", float(cost.mean()), int(there.sum())])
    return {"columns": ["position", "nll", "tokens"], "rows": lines}
