"""A model behind a server as a teacher: the likeliest tokens in each place of a text, and all others in one.

A server says some log-probabilities of each position, at temperature 1. Those become `TopKTargets`; the tail is what is
left of 1. At another temperature the tail would be a sum over what was not said, so no other is answered.
"""

import hashlib
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import TeacherError
from limbeck.languages import packed
from limbeck.objective import Needs
from limbeck.servers.client import Client
from limbeck.servers.connection import Refused
from limbeck.servers.scoring import Named, Scoring
from limbeck.signals import Batch, Signals
from limbeck.targets.protocol import without_logits
from limbeck.targets.topk import TopKTargets
from limbeck.teachers.answers import FLOOR, refuse_layers
from limbeck.teachers.ledger import Ledger

# Texts with which is found out how a server is asked, from so many rows.
_EXAMPLES, _ROWS = 4, 8


@dataclass(frozen=True)
class _Document:
    """A document of a row: where it begins, and its tokens."""

    row: int
    start: int
    tokens: tuple[int, ...]


class OpenAITeacher:
    """A server as a teacher of language: `openai:URL#MODEL`.

    Each document is one request, and what is answered is kept in the client's file: a killed recording goes on without
    asking anything again. A row of which a document is refused, or read by the server as other tokens, is a row about
    which nothing is said; as many are forgiven as `failures` says.

    The fingerprint is that of the URL and the model's name. A server that puts another model under the same name is not
    noticed.

    Args:
        client: The server, with the file of its answers.
    """

    partial = True

    def __init__(self, client: Client) -> None:
        self.client, self.name = client, str(client.server)
        self.views: int | None = None
        said = f"{self.name}|{client.server.logprobs}"
        self.fingerprint = hashlib.sha256(said.encode()).hexdigest()[:32]
        self.ledger = Ledger(self.name, client.server.failures)
        self._classes: tuple[str, ...] = ()
        self._asked_of = False
        self._scoring: Scoring | None = None

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Refuses needs that the likeliest tokens at temperature 1 cannot serve.

        Raises:
            TeacherError: When logits, layers or another temperature are needed.
        """
        refuse_layers(needs, self.name)
        count = self.client.server.logprobs
        if needs.logits:
            raise without_logits(f"{self.name} says the {count} likeliest tokens, and the objective reads logits", None)
        other = sorted({each for _, each in needs.soft | needs.between if each != 1})
        if other or needs.between:
            raise TeacherError(
                f"{self.name} says log-probabilities at temperature 1, and the objective asks at "
                f"{', '.join(f'T={each:g}' for each in other) or 'temperatures of a schedule'}",
                expected="temperature=1: softened probabilities of the tokens that are not said would be a sum over "
                "each of them, which the rest of 1 does not tell",
                remedy="kd(temperature=1); or the model itself as the teacher: hf:PATH or gguf:PATH",
            )
        if self._classes and self._classes != tuple(classes):
            self._scoring = None
        self._classes, self._asked_of = tuple(classes), bool(needs.soft)

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """Finds out, with some of the rows, how the server says log-probabilities.

        Raises:
            TeacherError: When it says none, or has another tokenizer.
            TeacherStopped: When it could not be reached.
        """
        self.ledger.expect(rows.ids)
        if self._asked_of:
            self._found(rows.take(torch.arange(min(_ROWS, len(rows)))).inputs)

    def recall(self, silent: Mapping[int, Int[Tensor, " silent"]]) -> None:
        """Counts rows that an earlier sitting was not told about, by view."""
        self.ledger.recall(silent)

    def signals(self, batch: Batch) -> Signals:
        """Targets of the likeliest tokens at each position that has a next one, and which rows were answered.

        Where a document ends and where a row is padding, all is in the tail.

        Raises:
            TeacherError: When the server says no log-probabilities, or what it says is none.
            TeacherStopped: When it could not be reached, or refused more rows than are forgiven.
        """
        inputs = batch.inputs.cpu()
        scoring = self._found(inputs)
        documents = _documents(inputs)
        answers = scoring.said([document.tokens for document in documents])
        self.ledger.ask(batch.ids)
        said = torch.ones(len(inputs), dtype=torch.bool)
        targets = _Targets(inputs.shape[0], inputs.shape[2], self.client.server.logprobs, len(self._classes))
        for document, answer in zip(documents, answers, strict=True):
            if isinstance(answer, Refused):
                self._silent(batch, document.row, said, answer)
            else:
                self.ledger.spoke()
                targets.enter(document, answer)
        self.ledger.tell()
        return Signals(None, {}, targets.whole(), said).to(batch.inputs.device)

    def to(self, device: torch.device) -> "OpenAITeacher":
        """Itself: answers go where the batch is."""
        return self

    def _silent(self, batch: Batch, row: int, said: Tensor, answer: Refused) -> None:
        if bool(said[row]):
            said[row] = False
            self.ledger.fail(int(batch.ids[row]), int(batch.views[row]), answer.happened)

    def _found(self, inputs: Int[Tensor, "rows 2 length"]) -> Scoring:
        if self._scoring is None:
            if not self._classes:
                raise TeacherError(f"{self.name} was asked before it was prepared", remedy="call prepare first")
            examples = sorted((each.tokens for each in _documents(inputs.cpu())), key=len)[:_EXAMPLES]
            if not examples:
                raise TeacherError(
                    f"{self.name} cannot be asked: the first rows hold no document of two tokens",
                    expected="a text with a token that follows another",
                )
            self._scoring, told = Scoring.found(self.client, self._classes, examples)
            self._warn_fewer(told)
        return self._scoring

    def _warn_fewer(self, told: Sequence[Named]) -> None:
        wanted = min(self.client.server.logprobs, len(self._classes))
        most = max(len(symbols) for named in told for symbols, _ in named)
        if most < wanted:
            warnings.warn(
                f"{self.name} was asked for {wanted} log-probabilities of each position and says {most} at most: "
                "the other tokens are in the tail, all in one",
                stacklevel=4,
            )


class _Targets:
    """The targets of some rows, while they are filled in."""

    def __init__(self, rows: int, length: int, count: int, size: int) -> None:
        self.count, self.size = min(count, size), size
        self.symbols = (size + torch.arange(self.count)).repeat(rows, length, 1)
        self.logits = torch.full((rows, length, self.count), -torch.inf)
        self.tails = torch.zeros(rows, length, 1)

    def enter(self, document: _Document, named: Named) -> None:
        """Takes what was said of a document: of its second token in the place of its first, and so on."""
        for place, (symbols, values) in enumerate(named, document.start):
            kept = min(len(symbols), self.count)
            self.symbols[document.row, place, :kept] = torch.tensor(symbols[:kept])
            self.logits[document.row, place, :kept] = torch.tensor(values[:kept])
            rest = 1.0 - math.fsum(math.exp(value) for value in values[:kept])
            # What float32 cannot tell from nothing beside a sure answer; nothing is left only where all was said.
            self.tails[document.row, place] = -math.inf if kept == self.size else math.log(max(rest, FLOOR))

    def whole(self) -> TopKTargets:
        """The targets."""
        return TopKTargets(self.symbols, self.logits, self.tails, (1.0,), self.size, partial=True)


def _documents(inputs: Int[Tensor, "rows 2 length"]) -> list[_Document]:
    """The documents of two tokens or more, row by row."""
    return [
        _Document(row, first, tuple(tokens[first:after]))
        for row, (tokens, numbers) in enumerate(inputs.tolist())
        for _, first, after in packed.documents(numbers)
        if after - first > 1
    ]
