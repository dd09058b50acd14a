"""How two language models fit, as facts with numbers: tokenizers, vocabularies, special tokens, contexts, templates."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SAMPLE = (
    {"role": "user", "content": "What is the boiling point of water?"},
    {"role": "assistant", "content": "100 degrees Celsius at sea level."},
    {"role": "user", "content": "And on a mountain?"},
    {"role": "assistant", "content": "Lower."},
)
"""A conversation that templates are compared on; it ends with an answer, so that how turns end shows."""

_SPECIAL = ("bos", "eos", "pad")


@dataclass(frozen=True)
class Overlap:
    """What two vocabularies share, of the teacher's and the student's tokenizer.

    Args:
        teacher: How many tokens the teacher's has.
        student: How many the student's has.
        alike: How many numbers have one text in both.
        shared: How many texts are in both, under any number.
        equal: Whether both make the same tokens of every text: one vocabulary and one set of rules.
    """

    teacher: int
    student: int
    alike: int
    shared: int
    equal: bool

    @property
    def share_alike(self) -> float:
        """Of the numbers of the larger vocabulary, those that mean the same in both; 1 for equal ones."""
        return self.alike / max(self.teacher, self.student, 1)

    @property
    def share_known(self) -> float:
        """Of the student's texts, those that the teacher knows; below 1 its classes cannot all be mapped by name."""
        return self.shared / max(self.student, 1)


@dataclass(frozen=True)
class Padding:
    """Rows of a model's head beyond its tokenizer's tokens; below 0 the model lacks tokens that texts are made of."""

    tokens: int
    rows: int

    @property
    def padded(self) -> int:
        """How many rows no text ever has as a token."""
        return self.rows - self.tokens


@dataclass(frozen=True)
class Specials:
    """Tokens that begin, end and fill up texts, by their texts; None where a tokenizer has none.

    `collisions` are pairs of roles of one tokenizer with one token: ("eos", "pad") where padding by token would keep a
    model from ever learning to stop. `different` are the roles that the two tokenizers give to different texts.
    """

    teacher: Mapping[str, str | None]
    student: Mapping[str, str | None]
    teacher_collisions: tuple[tuple[str, str], ...]
    student_collisions: tuple[tuple[str, str], ...]
    different: tuple[str, ...]
    teacher_begins: bool
    student_begins: bool


@dataclass(frozen=True)
class Contexts:
    """The longest document each was made for, in tokens (None: unknown), and the longest of the data."""

    teacher: int | None
    student: int | None
    longest: int

    @property
    def too_long(self) -> tuple[str, ...]:
        """Which of the two the data's longest document is too long for."""
        both = {"teacher": self.teacher, "student": self.student}
        return tuple(name for name, context in both.items() if context is not None and self.longest > context)


@dataclass(frozen=True)
class Templates:
    """One conversation as each tokenizer's template writes it; None where it has none, or refuses it.

    Args:
        teacher: The text by the teacher's template.
        student: By the student's.
        teacher_tokens: How many tokens that is, by each one's own tokenizer.
        student_tokens: The same of the student.
        ends: Whether each template ends an answer with its tokenizer's token for that, teacher first.
    """

    teacher: str | None
    student: str | None
    teacher_tokens: int
    student_tokens: int
    ends: tuple[bool, bool]

    @property
    def same(self) -> bool:
        """Whether both write one text."""
        return self.teacher == self.student

    @property
    def difference(self) -> int:
        """How many tokens more the student's template takes."""
        return self.student_tokens - self.teacher_tokens


def overlap(teacher: Any, student: Any) -> Overlap:
    """What two tokenizers share."""
    theirs, ours = teacher.get_vocab(), student.get_vocab()
    shared = theirs.keys() & ours.keys()
    alike = sum(theirs[text] == ours[text] for text in shared)
    return Overlap(len(theirs), len(ours), alike, len(shared), theirs == ours and _rules(teacher) == _rules(student))


def padding(tokenizer: Any, rows: int) -> Padding:
    """How many of a head's rows stand for no token.

    Args:
        tokenizer: The model's.
        rows: The head's, one for each number it can say.
    """
    return Padding(max(tokenizer.get_vocab().values(), default=-1) + 1, rows)


def specials(teacher: Any, student: Any) -> Specials:
    """Which tokens begin, end and fill up, and where one token has two roles."""
    theirs, ours = _roles(teacher), _roles(student)
    return Specials(
        theirs,
        ours,
        _collisions(theirs),
        _collisions(ours),
        tuple(role for role in _SPECIAL if theirs[role] != ours[role]),
        _begins(teacher),
        _begins(student),
    )


def contexts(teacher: int | None, student: int | None, longest: int) -> Contexts:
    """Whether the data's longest document fits both contexts."""
    return Contexts(teacher, student, longest)


def templates(teacher: Any, student: Any, conversation: Sequence[Mapping[str, str]] = SAMPLE) -> Templates:
    """How two chat templates write one conversation."""
    texts = [_written(each, conversation) for each in (teacher, student)]
    lengths = [
        0 if text is None else len(each(text, add_special_tokens=False)["input_ids"])
        for each, text in zip((teacher, student), texts, strict=True)
    ]
    ends = [_ends(each, text) for each, text in zip((teacher, student), texts, strict=True)]
    return Templates(texts[0], texts[1], lengths[0], lengths[1], (ends[0], ends[1]))


def _rules(tokenizer: Any) -> Any:
    """What makes tokens of a text; how it cuts and fills up in one call does not."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        return type(tokenizer).__name__
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    return {key: value for key, value in rules.items() if key not in ("padding", "truncation")}


def _roles(tokenizer: Any) -> dict[str, str | None]:
    return {role: getattr(tokenizer, f"{role}_token") for role in _SPECIAL}


def _collisions(roles: Mapping[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (one, other)
        for place, one in enumerate(_SPECIAL)
        for other in _SPECIAL[place + 1 :]
        if roles[one] is not None and roles[one] == roles[other]
    )


def _begins(tokenizer: Any) -> bool:
    """Whether it puts its first token before a text by itself."""
    said = tokenizer("a")["input_ids"]
    return bool(said) and tokenizer.bos_token_id is not None and said[0] == tokenizer.bos_token_id


def _written(tokenizer: Any, conversation: Sequence[Mapping[str, str]]) -> str | None:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return None
    try:
        return str(tokenizer.apply_chat_template([dict(turn) for turn in conversation], tokenize=False))
    except (TemplateError, ValueError):
        return None


def _ends(tokenizer: Any, text: str | None) -> bool:
    return text is not None and tokenizer.eos_token is not None and text.rstrip().endswith(tokenizer.eos_token)
