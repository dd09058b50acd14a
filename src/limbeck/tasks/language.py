"""The next token of a text: what it costs, position by position, over a vocabulary too large to keep answers about."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from limbeck.divergences import kl, log_mean
from limbeck.languages import speech
from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.packed import starts
from limbeck.languages.tokenizers import tokenizer
from limbeck.metrics.classes import binned_error, reliability_data
from limbeck.metrics.known import check_class_numbers, counted
from limbeck.notation import spelled
from limbeck.partial import likelihoods
from limbeck.precision import wide
from limbeck.records import Panel
from limbeck.targets.topk import TopKTargets
from limbeck.task import LabelKind, Meaning, Prompting

_KEPT = 64
_COST, _ANSWER, _SURE, _ENTROPY, _PLACE, _FROM_TEACHER, _AS_TEACHER = range(7)
_NUMBERS = 7
# In the place of 1 (the teacher's likeliest token is the model's) or 0: no teacher said anything there.
_UNASKED = -1.0
_SHOWN, _BEFORE, _LIKELIEST = 24, 12, 4
# Positions are shown in ranges, each four times as far as the one before.
_EDGES = (16, 64, 256, 1024, 4096)


class Language:
    """Each position of a text is followed by a token. Labels are the next tokens' numbers.

    Outputs are logits over the vocabulary, of which a digest is kept at each position whose label is known: what the
    label cost, the likeliest token, its probability, the entropy, its place in the document, KL(teacher || model),
    whether the teacher's likeliest token is the same, and the likeliest symbols. The metrics over all these positions:
    `nll` (nats a token), `perplexity` (its exponential), `accuracy` (the likeliest token is the next one, 0 to 1),
    `ece` (0 to 1) and `entropy` (nats).
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

    def places(self, inputs: Int[Tensor, "rows 2 positions"]) -> Int[Tensor, "rows positions"]:
        """How many tokens of its document stand before each; of a document cut into pieces, each is one of its own."""
        return starts(inputs[:, 1])[0]

    def digest(
        self,
        outputs: Float[Tensor, "positions tokens"],
        labels: Int[Tensor, "positions"],
        places: Int[Tensor, "positions"],
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
        gap, same = torch.zeros_like(cost), torch.full_like(cost, _UNASKED)
        if teacher is not None:
            theirs = teacher.to(logits)
            gap = _targets(theirs, logits.shape[-1]).divergence(kl, logits, 1.0)
            same = torch.where(theirs[:, _SURE] > 0, (theirs[:, _ANSWER] == answer).to(said), same)
        numbers = torch.stack([cost, answer.to(said), sure.exp(), entropy, places.to(said), gap, same], dim=-1)
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

    def reading(self, classes: Sequence[str]) -> None:
        """None: tokens are generated, not read off."""
        return None

    def panels(
        self,
        outputs: Float[Tensor, "rows positions kept"],
        labels: Int[Tensor, "rows positions"],
        known: Bool[Tensor, "rows positions"],
        classes: Sequence[str],
    ) -> list[Panel]:
        """Cost and likeness to the teacher by position in the document, and the reliability of the likeliest token.

        Raises:
            DataError: When no label is known.
        """
        digests, truth = counted(outputs, labels, known)
        right = (digests[:, _ANSWER].long() == truth).double()
        data = reliability_data(digests[:, _SURE], right) | {"x_label": "confidence", "y_label": "accuracy"}
        return [
            Panel("reliability", "Reliability: accuracy by confidence", "curve", data),
            Panel("by_position", "Cost and likeness by position in the document", "table", _by_position(digests)),
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

    def speech(
        self,
        models: Mapping[str, nn.Module],
        inputs: Int[Tensor, "rows 2 positions"],
        known: Bool[Tensor, "rows positions"],
        classes: Sequence[str],
        how: Prompting,
    ) -> tuple[list[dict[str, object]], Panel | None]:
        """Texts after the beginnings of documents, greedily and by draws; see `limbeck.languages.speech`."""
        networks = {who: network for who, model in models.items() if (network := _speaker(model)) is not None}
        found = speech.held_out(inputs, known, how.prompts)
        found, length = speech.fitting(found, list(networks.values()), how.length)
        if not found or not networks:
            return [], None
        end = tuple(classes.index(name) for name in how.ends)
        greedy = Sampling(length, end, seed=how.seed)
        ways = {"greedy": greedy, f"drawn at T={how.temperature:g}": replace(greedy, temperature=how.temperature)}
        said = speech.spoken(networks, found, ways)
        data = [speech.Text.of(passage.rest[:length], end) for passage in found]
        shown = speech.table(said, data, list(networks), ways)
        title = f"How {len(found)} held-out documents are gone on with, {length} tokens at most"
        lines = speech.lines(said, found, data, ways, tokenizer(how.reads))
        return list(lines), Panel("generations", title, "table", shown)


def readable(token: str) -> str:
    """A token's text with the marks of byte-level and sentence-piece vocabularies read as what they stand for."""
    return token.replace("Ġ", " ").replace("Ċ", "\n").replace("▁", " ")


def _speaker(model: nn.Module) -> LanguageNetwork | None:
    """The network of a model that speaks the data's own tokens."""
    network = getattr(model, "network", None)
    alike = getattr(model, "class_index", None) is None
    return network if isinstance(network, LanguageNetwork) and alike else None


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


def _by_position(digests: Float[Tensor, "positions kept"]) -> dict[str, object]:
    """What a token costs, and how like the teacher a model is, by how far in its document the token stands."""
    last = int(digests[:, _PLACE].max()) + 1
    edges = [0, *(edge for edge in _EDGES if edge < last), last]
    heard = bool((digests[:, _AS_TEACHER] != _UNASKED).any())
    lines = []
    for start, end in itertools.pairwise(edges):
        here = digests[(digests[:, _PLACE] >= start) & (digests[:, _PLACE] < end)]
        if len(here):
            asked = here[here[:, _AS_TEACHER] != _UNASKED]
            like = [_mean(asked[:, _FROM_TEACHER]), _mean(asked[:, _AS_TEACHER])] if heard else []
            lines.append([f"{start + 1} to {end}", _mean(here[:, _COST]), *like, len(here)])
    return {"columns": ["position", "nll", *(["kl", "agreement"] if heard else []), "tokens"], "rows": lines}


def _mean(values: Float[Tensor, " values"]) -> float | None:
    return float(values.double().mean()) if len(values) else None
