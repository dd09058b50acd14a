"""Whether the teacher's own tokenizer makes other tokens of a text than the data's does."""

from pathlib import Path

from limbeck.catalog.languages import is_language, tokenizer
from limbeck.examination.case import Case
from limbeck.languages.tokenizers import FOLDER
from limbeck.languages.vocabulary import overlap
from limbeck.records import Finding


def reading(case: Case) -> list[Finding]:
    """A warning for a teacher that is shown tokens in sequences it has never seen; nothing for what reads no text.

    Tokens are told to the teacher by their texts, so that other numbers alone do no harm. Another cut of the same text
    does: the teacher then judges a sequence that its own tokenizer never makes.
    """
    tokens, teacher = case.recipe.data.tokens, case.recipe.teacher_text()
    if tokens is None or not isinstance(teacher, str) or not _reads(teacher):
        return []
    shared = overlap(tokenizer(teacher), tokenizer(tokens.tokenizer))
    if shared.equal:
        return []
    return [
        Finding(
            "warning",
            "teacher and data cut texts apart otherwise",
            f"of {shared.ours:,} tokens of {tokens.tokenizer} the teacher's tokenizer knows {shared.shared:,}, "
            f"{shared.alike:,} under the same number, and the vocabularies or their rules are not the same",
            f"data: {{tokens: {{tokenizer: {teacher}}}}}, so that the teacher reads text as it learnt to",
        )
    ]


def _reads(teacher: str) -> bool:
    return is_language(teacher) or (Path(teacher) / FOLDER).is_dir()
