"""A language model with another tokenizer as a teacher: it reads the text of the student's tokens in its own."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import TeacherError
from limbeck.languages.packed import documents
from limbeck.languages.spans import Interpreter, Span
from limbeck.languages.vocabulary import fingerprint, vocabulary
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.signals import Batch, Signals
from limbeck.targets.aligned import AlignedTargets, summed
from limbeck.targets.hidden import HiddenTargets
from limbeck.teachers.module import ModuleTeacher


@dataclass(frozen=True)
class Document:
    """A stretch of a row, and as which stretch of the teacher's row its text is read."""

    row: int
    start: int
    begins: int
    spans: list[Span]


class RetokenisedTeacher:
    """A language model that is asked about the text of each document, cut into its own tokens.

    Where both cuts begin a token at the same byte, and have the same text before them, it says its distribution; inside
    of a span, how likely the text goes on as it does (`limbeck.targets.aligned`). Positions whose text it could not
    read, or before which it has read nothing, are not `said`.

    Args:
        model: The network, in the order of its own tokens.
        known: The tokenizer it was trained with.
        reads: The tokenizer of the data.
        name: What reports call this teacher.
    """

    def __init__(self, model: Model, known: Any, reads: Any, name: str) -> None:
        self.inner = ModuleTeacher(model, name)
        self.reads, self.name = reads, name
        self.views: int | None = None
        self.interpreter = Interpreter(reads, known)
        self.fingerprint = self._combined()
        self._meant, self._silenced = _meanings(self.interpreter, model)

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Freezes the network.

        Raises:
            TeacherError: When an objective needs its layers or logits, or the data was cut by another tokenizer.
        """
        if needs.teacher_layers or needs.logits or needs.members:
            asked = sorted(needs.teacher_layers) or ["its logits"]
            raise TeacherError(
                f"{self.name} is asked for {', '.join(asked)}, and its tokens lie elsewhere than the student's",
                expected="an objective that asks for a divergence, such as uld or kd(temperature=1)",
                remedy="`limbeck methods` shows what each method needs",
            )
        if (ours := vocabulary(self.reads)) != tuple(classes):
            raise TeacherError(
                f"the data has {len(classes)} tokens, and {self.name} was told of a tokenizer with {len(ours)}",
                expected="retokenised(..., tokens=TEXT) with the text of data.tokens.tokenizer",
            )
        self.inner.prepare(Needs(), self.inner.model.classes)
        self.fingerprint = self._combined()

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """A network answers any rows."""

    @torch.no_grad()
    def signals(self, batch: Batch) -> Signals:
        """Targets in the student's vocabulary; `said` marks the positions about which it says any.

        Raises:
            TeacherError: When somebody moved the network, or the rows are no tokens.
        """
        rows = batch.inputs.detach().cpu()
        lines, found = self._read(rows)
        longest = max(map(len, lines), default=1)
        inputs = torch.zeros(len(lines), 2, longest, dtype=torch.int64)
        for row, line in enumerate(lines):
            inputs[row, 0, : len(line)] = torch.tensor([token for token, _ in line])
            inputs[row, 1, : len(line)] = torch.tensor([number for _, number in line])
        heard = self.inner.signals(Batch.of(inputs.to(batch.inputs.device), None, batch.task)).targets
        if not isinstance(heard, HiddenTargets):
            raise TeacherError(f"{self.name} says no hidden states", expected="a language model with a linear head")
        bias = torch.zeros(len(heard.weight)) if heard.bias is None else heard.bias.detach().clone()
        bias = bias.to(heard.weight).masked_fill(self._silenced.to(heard.weight.device), -torch.inf)
        whole = HiddenTargets(heard.hidden, heard.weight.detach(), bias)
        return self._told(rows, inputs, found, whole)

    def to(self, device: torch.device) -> "RetokenisedTeacher":
        """Moves the network to a device, and returns itself."""
        self.inner = self.inner.to(device)
        return self

    def _read(self, rows: Tensor) -> tuple[list[list[tuple[int, int]]], list[Document]]:
        """The teacher's rows, as tokens with the numbers of their documents, and where in them each document lies."""
        lines: list[list[tuple[int, int]]] = []
        found = []
        for row, (tokens, numbers) in enumerate(rows.tolist()):
            line: list[tuple[int, int]] = []
            for number, start, after in documents(numbers):
                reading = self.interpreter.read(tokens[start:after])
                found.append(Document(row, start, len(line), reading.spans))
                line += [(token, number) for token in reading.tokens]
            lines.append(line or [(0, 0)])
        return lines, found

    def _told(self, rows: Tensor, inputs: Tensor, found: list[Document], heard: HiddenTargets) -> Signals:
        """What the hidden states at the beginnings of spans mean at the student's positions."""
        shape, device = (len(rows), rows.shape[2]), heard.hidden.device
        places, spans = _places(found)
        row, place, begin, after, tokens = spans.unbind(1)
        ours, theirs = rows[row, 0, place + 1], inputs[row, 0, begin]
        source = self._meant[theirs]
        usable = ~self._silenced[theirs] & (source >= 0)
        # Where the two next tokens mean each other and end together, the distribution says it all.
        several = usable & ((tokens > 1) | (after > begin + 1) | (source != ours))
        product = self._product(inputs, spans[several], heard)
        first = torch.full((len(spans),), -torch.inf, dtype=product.dtype)
        first[several] = torch.where(source[several] == ours[several], -torch.inf, product)
        rest = self._rest(heard, spans[several], ours[several], source[several], product)
        usable[several] &= torch.isfinite(product)
        told = _Positions.empty(shape, heard, product.dtype)
        told.token[row, place], told.source[row, place] = ours, torch.where(usable, source, 0)
        told.share[row, place], told.begins[row, place] = first, True
        told.said[row, place] = usable
        told.hidden[row, place] = heard.hidden[row.to(device), begin.to(device) - 1].cpu()
        inside = torch.full((len(spans),), 0.0, dtype=product.dtype)
        inside[several] = rest
        span = places[:, 0]
        at = (row[span], places[:, 1])
        told.token[at], told.share[at] = rows[row[span], 0, places[:, 1] + 1], inside[span].clamp(max=0)
        told.begins[at], told.said[at] = False, usable[span]
        return told.signals(heard, self._meant, len(self.interpreter.our_bytes), device)

    def _product(self, inputs: Tensor, spans: Tensor, heard: HiddenTargets) -> Tensor:
        """The logarithm of the probability of each span's text: the sum over the teacher's tokens in it."""
        counts = spans[:, 3] - spans[:, 2]
        span = torch.repeat_interleave(torch.arange(len(spans)), counts)
        first = counts.cumsum(0) - counts
        place = spans[span, 2] + torch.arange(len(span)) - first[span]
        row, device = spans[span, 0], heard.hidden.device
        token = inputs[row, 0, place].to(device)

        def cost(logits: Tensor, token: Tensor) -> tuple[Tensor, ...]:
            return (torch.log_softmax(logits, dim=-1).gather(-1, token[:, None])[:, 0],)

        asked = HiddenTargets(_wide(heard.hidden[row.to(device), place.to(device) - 1]), heard.weight, heard.bias)
        said = asked.each(cost, token)[0].cpu() if len(span) else _wide(torch.zeros(0, dtype=heard.hidden.dtype))
        return torch.zeros(len(spans), dtype=said.dtype).index_add_(0, span, said)

    def _rest(self, heard: HiddenTargets, spans: Tensor, ours: Tensor, source: Tensor, product: Tensor) -> Tensor:
        """What each token after the first of a span has of the span's probability, evenly in logarithms."""
        meant, device = self._meant.clamp(min=0).to(heard.hidden.device), heard.hidden.device
        size = len(self.interpreter.our_bytes)

        def share(logits: Tensor, token: Tensor) -> tuple[Tensor, ...]:
            said = summed(torch.log_softmax(logits, dim=-1), meant, size)
            return (said.gather(-1, token[:, None])[:, 0],)

        if not len(spans):
            return product
        at = (spans[:, 0].to(device), spans[:, 2].to(device) - 1)
        asked = HiddenTargets(_wide(heard.hidden[at]), heard.weight, heard.bias)
        begun = asked.each(share, ours.to(device))[0].cpu()
        begun = begun + torch.where(source == ours, 0.0, product.exp())
        return (product - begun.log()) / (spans[:, 4] - 1).clamp(min=1)

    def _combined(self) -> str:
        both = [self.inner.fingerprint, fingerprint(self.interpreter.theirs), fingerprint(self.reads)]
        return hashlib.sha256("|".join(["retokenised", *both]).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Positions:
    """What is said at each of the student's positions, as it is filled in."""

    hidden: Tensor
    token: Tensor
    begins: Tensor
    share: Tensor
    source: Tensor
    said: Tensor

    @classmethod
    def empty(cls, shape: tuple[int, int], heard: HiddenTargets, precision: torch.dtype) -> "_Positions":
        """Nothing said anywhere, in numbers that stay finite."""
        hidden = torch.zeros(*shape, heard.hidden.shape[-1], dtype=heard.hidden.dtype)
        token, source = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
        begins, said = (torch.zeros(shape, dtype=torch.bool) for _ in range(2))
        return cls(hidden, token, begins, torch.full(shape, -1.0, dtype=precision), source, said)

    def signals(self, heard: HiddenTargets, meant: Tensor, size: int, device: torch.device) -> Signals:
        """As targets on a device."""
        assert heard.bias is not None
        parts = (self.token, self.begins, self.share, self.source)
        token, begins, share, source = (part.to(device) for part in parts)
        targets = AlignedTargets(
            self.hidden.to(device),
            heard.weight,
            heard.bias,
            meant.clamp(min=0).to(device),
            token,
            begins,
            share,
            source,
            size,
        )
        return Signals(targets=targets, said=self.said.to(device))


def _meanings(interpreter: Interpreter, model: Model) -> tuple[Tensor, Tensor]:
    """For each of the network's outputs the student's token, -1 for none, and which of them are not asked for."""
    meant = torch.full((len(model.classes),), -1)
    found = interpreter.meant
    meant[: len(found)] = torch.tensor(found)
    return meant, meant < 0


def _places(documents: Sequence[Document]) -> tuple[Tensor, Tensor]:
    """The student's positions inside of spans, with their span's number; and the spans.

    A span is a row, the student's position before it, the teacher's place where it begins and after which it ends, and
    the student's tokens in it.
    """
    found: list[tuple[int, ...]] = []
    inside: list[tuple[int, int]] = []
    for document in documents:
        for span in document.spans:
            first, after = (document.start + place for place in span.ours)
            begin, end = (document.begins + place for place in span.theirs)
            inside += [(len(found), place) for place in range(first, after - 1)]
            found.append((document.row, first - 1, begin, end, after - first))
    return torch.tensor(inside).long().view(-1, 2), torch.tensor(found).long().view(-1, 5)


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
