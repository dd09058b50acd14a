"""Documents of tokens from the texts, the prompts with completions, or the messages of any table."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.data.conversations import Template, checked
from limbeck.data.documents import PAGE, Documents
from limbeck.data.encoding import Encoded, Ends, Learn, completed, plain, reasoned
from limbeck.data.forms.assembly import Assembly
from limbeck.data.forms.columns import Block, Roles
from limbeck.data.forms.columns import plain as values
from limbeck.data.forms.written import Written, written
from limbeck.data.raw import Raw
from limbeck.data.shelf import Shelf, raw_splits
from limbeck.data.unreadable import LISTED, Unreadable
from limbeck.errors import DataError
from limbeck.languages.tokenizers import tokenizer
from limbeck.languages.vocabulary import fingerprint, vocabulary
from limbeck.recipe import DataSpec, Tokens

Readers = Mapping[str, Callable[[Unreadable], Iterator[Block]]]

_PAGES_AT_ONCE = 256
# Raised when what is kept of documents changes.
_KEPT = 2


def of(name: str, origin: str, readers: Readers, spec: DataSpec, key: str | None = None) -> Raw:
    """The documents of a table of any origin, each gone through once.

    Args:
        name: What to call the data.
        origin: Where it lies, for the report.
        readers: For each split, what reads its blocks.
        spec: Its tokens, columns, share of unreadable rows, and memory.
        key: What `shelf.identity` gave, None where the content decides.

    Raises:
        DataError: When columns hold no text, too much is unreadable, or no document has a token to learn.
    """
    said = spec.tokens
    assert said is not None
    found = tokenizer(said.tokenizer)
    print_ = fingerprint(found)
    with Shelf(spec.memory, _key(key, print_, said)) as shelf:
        raw = shelf.found()
        if raw is None:
            corpus = Corpus(found, spec, shelf, Unreadable(spec.unreadable, "documents"))
            for split, blocks in readers.items():
                corpus.splits[split] = Beside(split, shelf)
                for block in blocks(corpus.lost):
                    corpus.add(split, block)
            raw = corpus.raw(name, origin, {"tokenizer": said.tokenizer, "fingerprint": print_})
    _warn(raw.facts["tokens"], said)
    pairs: dict[str, Any] = {}
    for split in raw_splits(raw):
        pages, sizes = getattr(raw, split)
        pairs[split] = (Documents.of(pages, sizes, said.length, said.pack), None)
    return Raw(
        raw.name,
        **pairs,
        classes=vocabulary(found),
        origin=raw.origin,
        groups=raw.groups,
        times=raw.times,
        facts=raw.facts,
        reader=print_,
    )


@dataclass
class Corpus:
    """Collects the documents of every split: their tokens on a shelf, in pages, and what stands beside them here.

    Args:
        tokenizer: Makes tokens of text.
        spec: Its tokens and columns.
        shelf: Where pages go.
        lost: Where documents that cannot be read are noted.
    """

    tokenizer: Any
    spec: DataSpec
    shelf: Shelf
    lost: Unreadable
    splits: dict[str, "Beside"] = field(default_factory=dict)
    written: Written | None = None
    longer: dict[str, int] = field(default_factory=lambda: {"documents": 0, "left_out_tokens": 0})
    nothing: list[str] = field(default_factory=list)
    unlearnt: int = 0

    @property
    def said(self) -> Tokens:
        """How text becomes rows."""
        assert self.spec.tokens is not None
        return self.spec.tokens

    @cached_property
    def learn(self) -> Learn:
        """Which tokens are learnt: what the recipe says, or what suits the data."""
        assert self.written is not None
        if self.written.kind == "texts":
            if self.said.learn == "completions":
                raise DataError(
                    f"tokens.learn is completions, and the column {self.written.inputs!r} holds plain text",
                    expected="prompts beside completions, or messages",
                    remedy="columns: {inputs: prompt, label: completion}, or leave tokens.learn out",
                )
            return "all"
        return self.said.learn or "completions"

    @cached_property
    def ends(self) -> Ends:
        """What documents begin and end with."""
        return Ends.of(self.tokenizer, self.said)

    @cached_property
    def template(self) -> Template:
        """How messages are written."""
        if wrong := [name for name in ("bos", "eos") if getattr(self.said, name) is not None]:
            raise DataError(
                f"tokens.{wrong[0]} is said, and the data is messages",
                expected="messages begin and end as the tokenizer's chat template writes them",
                remedy=f"leave tokens.{wrong[0]} out",
            )
        return Template(self.tokenizer, self.said.tokenizer)

    def add(self, split: str, block: Block) -> None:
        """Takes the documents of a block.

        Raises:
            DataError: When a column is missing or holds no text, or too much is unreadable.
        """
        if self.written is None:
            self.written = written(self.spec.columns, block)
        columns = self.spec.columns
        roles = Roles((self.written.inputs,), "text", (), columns.group, columns.time)
        found = Assembly("tokens", self.shelf, self.lost, block.typed).read(roles, block)
        beside = self.splits[split]
        for place, document in self._documents(block, found.good):
            kept = None if isinstance(document, str) else self._kept(document)
            if kept is None:
                found.lose_one(place, str(document))
            elif not (kept[1:] >= 0).any():
                self._unlearnt(block.where(place))
            else:
                group = None if found.groups is None else found.groups[place]
                beside.add(kept, group, None if found.moments is None else float(found.moments[place]))

    def raw(self, name: str, origin: str, facts: Mapping[str, Any]) -> Raw:
        """The pages of each split and the sizes of its documents, once every block was added.

        Raises:
            DataError: When too many documents were unreadable, or none has a token to learn.
        """
        self.lost.check(sum(len(beside.sizes) for beside in self.splits.values()) + self.unlearnt)
        for split, beside in self.splits.items():
            if not beside.sizes:
                raise DataError(
                    f"the {split} split of {origin} holds no document to learn from",
                    expected="documents with a token to learn" if self.unlearnt else "at least one text",
                    remedy=self._nothing_left() if self.unlearnt else "",
                )
            beside.close()
        assert self.written is not None
        columns = {"inputs": self.written.inputs, "completion": self.written.completion}
        columns |= {"rationale": self.written.rationale}
        columns |= {"group": self.spec.columns.group, "time": self.spec.columns.time}
        said = {**facts, "learnt": self.learn, "ends": self._ends()}
        if self.longer["documents"]:
            said["longer_than_a_row"] = self.longer
        if self.unlearnt:
            said["nothing_to_learn"] = {"count": self.unlearnt, "first": self.nothing}
        pairs: dict[str, Any] = {split: (None, beside.sizes) for split, beside in self.splits.items()}
        return self.shelf.raw(
            Raw(
                name,
                **pairs,
                origin=origin,
                groups={split: np.array(beside.groups) for split, beside in self.splits.items() if beside.groups},
                times={
                    split: (np.array(beside.moments),) * 2 for split, beside in self.splits.items() if beside.moments
                },
                facts={
                    "columns": {key: column for key, column in columns.items() if column},
                    "tokens": said,
                    **self.lost.facts(),
                },
            )
        )

    def _ends(self) -> list[str]:
        """The texts of the tokens with which what is learnt ends, and with which a model that learnt it ends."""
        assert self.written is not None
        end = self.template.end if self.written.kind == "messages" else self.ends.end
        return [] if end is None else [self.tokenizer.convert_ids_to_tokens(end)]

    def _documents(self, block: Block, good: npt.NDArray[np.bool_]) -> Iterator[tuple[int, Encoded | str]]:
        """The documents of the good rows with their places, or a few words why one cannot be read."""
        assert self.written is not None
        inputs = values(block.column(self.written.inputs))
        places = np.flatnonzero(good).tolist()
        if self.written.kind == "messages":
            yield from self._conversations([(place, checked(inputs[place])) for place in places])
            return
        names = self.written.columns
        columns = [inputs, *(values(block.column(name)) for name in names[1:])]
        if self.written.rationale is not None:
            columns[1:] = [["" if value is None else value for value in column] for column in columns[1:]]
        whole = []
        for place in places:
            why = _unread(names, [column[place] for column in columns])
            if why:
                yield place, why
            else:
                whole.append(place)
        found = self._encoded([[column[place] for place in whole] for column in columns])
        for place, document in zip(whole, found, strict=True):
            yield place, document if document.tokens else f"column {names[-1]!r} holds no token"

    def _encoded(self, texts: list[list[str]]) -> Iterator[Encoded]:
        """Documents of one, two or three texts each: texts, prompts with completions, or with steps and answers."""
        if len(texts) == 1:
            return plain(self.tokenizer, texts[0], self.ends)
        if len(texts) == 2:
            return completed(self.tokenizer, texts[0], texts[1], self.ends, self.learn)
        return reasoned(self.tokenizer, texts[0], texts[1], texts[2], self.ends, self.learn)

    def _conversations(self, conversations: list[tuple[int, Any]]) -> Iterator[tuple[int, Encoded | str]]:
        whole = [(place, messages) for place, messages in conversations if not isinstance(messages, str)]
        yield from ((place, why) for place, why in conversations if isinstance(why, str))
        found = self.template.encoded([messages for _, messages in whole], self.learn)
        yield from zip((place for place, _ in whole), found, strict=True)

    def _kept(self, document: Encoded) -> npt.NDArray[np.int32]:
        """A document as it is kept; where completions are learnt, no further than a row reaches."""
        beyond = len(document.tokens) - self.said.length
        if beyond > 0:
            self.longer["documents"] += 1
            if self.learn == "completions":
                self.longer["left_out_tokens"] += beyond
        return document.kept(self.said.length if self.learn == "completions" else None)

    def _unlearnt(self, where: str) -> None:
        self.unlearnt += 1
        if len(self.nothing) < LISTED:
            self.nothing.append(where)

    def _nothing_left(self) -> str:
        what = "a greater data.tokens.length: prompts" if self.learn == "completions" else "longer texts: these"
        return f"{what} of {self.unlearnt:,} documents leave nothing to learn ({', '.join(self.nothing[:3])})"


@dataclass
class Beside:
    """The documents of one split: sizes, groups and times here, tokens on the shelf, a page at a time."""

    name: str
    shelf: Shelf
    sizes: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    _waiting: list[npt.NDArray[np.int32]] = field(default_factory=list)
    _tokens: int = 0

    def add(self, kept: npt.NDArray[np.int32], group: str | None, moment: float | None) -> None:
        """Takes one document."""
        self.sizes.append(len(kept))
        if group is not None:
            self.groups.append(group)
        if moment is not None:
            self.moments.append(moment)
        self._waiting.append(kept)
        self._tokens += len(kept)
        if self._tokens >= PAGE * _PAGES_AT_ONCE:
            whole = np.concatenate(self._waiting)
            full = len(whole) // PAGE * PAGE
            self.shelf.add(self.name, torch.from_numpy(whole[:full].reshape(-1, PAGE)))
            self._waiting, self._tokens = [whole[full:].copy()], len(whole) - full

    def close(self) -> None:
        """Shelves what is left, the last page filled up."""
        whole = np.concatenate(self._waiting)
        if len(whole):
            whole = np.pad(whole, (0, -len(whole) % PAGE))
            self.shelf.add(self.name, torch.from_numpy(whole.reshape(-1, PAGE)))


def _unread(names: Sequence[str], texts: Sequence[object]) -> str:
    """Why the texts of a document cannot be read, and nothing where they can; of steps and answer one may be empty."""
    wrong = [why for name, text in zip(names, texts, strict=True) if (why := _no_text(name, text))]
    steps = len(texts) == 3 and not _no_text(names[0], texts[0]) and all(isinstance(text, str) for text in texts)
    return "" if not wrong or (steps and len(wrong) == 1) else wrong[0]


def _no_text(name: str, value: object) -> str:
    """Why a value is no text to read, and nothing where it is one."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"column {name!r} is empty"
    return "" if isinstance(value, str) else f"column {name!r} holds {str(value)[:60]!r}, no text"


def _key(key: str | None, print_: str, said: Tokens) -> str | None:
    """The source's key with what decides the tokens and what is kept of them; packing is done afterwards."""
    if key is None:
        return None
    how = json.dumps(said.model_dump(mode="json", exclude={"tokenizer", "pack"}), sort_keys=True)
    return hashlib.sha256(f"{_KEPT}|{key}|{print_}|{how}".encode()).hexdigest()[:32]


def _warn(facts: Mapping[str, Any], said: Tokens) -> None:
    sentences = []
    if left_out := facts.get("longer_than_a_row", {}).get("left_out_tokens"):
        count = facts["longer_than_a_row"]["documents"]
        sentences.append(f"{count:,} documents are longer than a row, and their last {left_out:,} tokens are left out")
    if nothing := facts.get("nothing_to_learn"):
        first = ", ".join(nothing["first"][:3])
        sentences.append(f"{nothing['count']:,} documents have no token to learn and are left out ({first})")
    if sentences:
        warnings.warn(f"{'; '.join(sentences)} (data.tokens.length is {said.length})", stacklevel=3)
