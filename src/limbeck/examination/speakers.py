"""Whether two language models fit beyond their tokens: how much they read, how texts begin, end, and are put to them.

Each of these goes wrong in silence. A teacher that never ends a text where the data does teaches its student not to;
one that is asked in another model's template judges sequences it never saw, and is off by tenths of a nat a token.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limbeck.catalog.languages import is_language, tokenizer
from limbeck.errors import LimbeckError
from limbeck.evaluation import Answers
from limbeck.examination.case import Case
from limbeck.examination.steadiness import modules
from limbeck.languages.network import LanguageNetwork
from limbeck.records import Finding
from limbeck.signals import Batch
from limbeck.task import Task
from limbeck.teachers.protocol import Teacher

# Fewer ends than this say little. A teacher that gives the end less than two in a hundred, and far less than it gives
# other tokens, is not one that merely hesitates.
ENDS, COSTLY, WORSE = 8, 4.0, 2.0
# Nats a token of an answer; a mismatch of templates that ruined a training was measured at 0.29
# (github.com/thinking-machines-lab/tinker-cookbook, issues 796 and 797).
BIAS = 0.05
_QUESTIONS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("Name three colours.", "Red, green and blue."),
    ("Why is the sky blue?", "Because air scatters blue light more than red light."),
)


def speakers(case: Case) -> list[Finding]:
    """What does not fit between the language models of a recipe and its data; nothing where no text is read."""
    tokens, teacher = case.recipe.data.tokens, case.teacher
    if tokens is None:
        return []
    networks = {"the student": case.student.network}
    for number, model in enumerate([] if teacher is None else modules(teacher), start=1):
        networks["the teacher" if number == 1 else f"teacher {number}"] = model.network
    spoken = {who: network for who, network in networks.items() if isinstance(network, LanguageNetwork)}
    found = [*contexts(spoken, tokens.length), *padding(spoken)]
    if teacher is None:
        return found
    facts = case.data.facts.get("tokens", {})
    if case.said is not None:
        found += endings(case.said, case.task, case.data.classes, facts.get("ends", ()), case.where)
    theirs = case.recipe.teacher_text()
    if "the teacher" not in spoken or not isinstance(theirs, str) or not is_language(theirs):
        return found
    own, ours = tokenizer(theirs), tokenizer(tokens.tokenizer)
    found += beginnings(own, ours, tokens.bos)
    found += templates(own, ours, teacher, case.task, case.device)
    return found


def contexts(networks: Mapping[str, LanguageNetwork], length: int) -> Iterator[Finding]:
    """A warning for each model that was made for shorter texts than a row may hold."""
    for who, network in networks.items():
        if network.context is not None and network.context < length:
            yield Finding(
                "warning",
                f"rows are longer than the context of {who}",
                f"a row holds {length:,} tokens, and {who} was made for {network.context:,}: a document that is longer "
                "stops the run",
                f"data.tokens.length: {network.context}",
            )


def padding(networks: Mapping[str, LanguageNetwork]) -> Iterator[Finding]:
    """A note for each model whose vocabulary had rows that stand for no token of the data, and lost them."""
    for who, network in networks.items():
        if network.cut:
            yield Finding(
                "note",
                f"the vocabulary of {who} was cut",
                f"{network.cut:,} of its {network.cut + network.size:,} rows stand for no token of the data, such as "
                "those that fill it up; they are gone, and have no probability",
                "nothing",
            )


def beginnings(theirs: Any, ours: Any, said: bool | None) -> Iterator[Finding]:
    """A warning where texts begin with a token of their own on one side alone.

    Args:
        theirs: The teacher's tokenizer.
        ours: The data's.
        said: Whether the recipe wants that token; None for what the tokenizer does.
    """
    begins = [_begins(each) for each in (theirs, ours)]
    if begins[0] != (begins[1] if said is None else said):
        one, other = ("begins", "do not") if begins[0] else ("does not begin", "do")
        yield Finding(
            "warning",
            "texts begin otherwise than the teacher's",
            f"the teacher's tokenizer {one} a text with a token for its beginning, and the data's documents {other}",
            f"data.tokens.bos: {str(begins[0]).lower()}",
        )


def endings(said: Answers, task: Task, classes: Sequence[str], ends: Sequence[str], where: str) -> Iterator[Finding]:
    """A warning for a teacher that does not end texts where the data does: its student will not either.

    Args:
        said: What the teacher said of some rows.
        task: The task, whose metrics hold `nll`.
        classes: The texts of the tokens.
        ends: Those with which what is learnt ends.
        where: Which rows these are, in words.
    """
    numbers = torch.tensor([place for place, text in enumerate(classes) if text in set(ends)], dtype=torch.long)
    at_end = said.known & torch.isin(said.labels, numbers.to(said.labels))
    elsewhere = said.known & ~at_end
    if int(at_end.sum()) < ENDS or not bool(elsewhere.any()):
        return
    end, rest = (task.metrics(said.outputs, said.labels, places)["nll"] for places in (at_end, elsewhere))
    if end > COSTLY and end > WORSE * rest:
        yield Finding(
            "warning",
            "the teacher does not end texts where the data does",
            f"at the {int(at_end.sum())} ends of the {where} the token that ends a text ({', '.join(ends)}) costs "
            f"it {end:.1f} nats on average, elsewhere a token costs {rest:.1f}",
            "a student that follows it will go on where a text should end: more weight on labels, or data that ends as "
            "the teacher does",
        )


@torch.no_grad()
def templates(theirs: Any, ours: Any, teacher: Teacher, task: Task, device: torch.device) -> Iterator[Finding]:
    """A warning where the data's chat template is another than the teacher's, with what that costs it a token.

    Measured on a few questions and answers that are always the same, of which the answers count.
    """
    if not theirs.chat_template or not ours.chat_template or theirs.chat_template == ours.chat_template:
        return
    try:
        own, other = (
            torch.cat([_cost(*_put(ours, template, *pair), teacher, task, device) for pair in _QUESTIONS])
            for template in (theirs.chat_template, ours.chat_template)
        )
    except (LimbeckError, ValueError, TypeError, KeyError):
        return  # a template that takes no plain question is refused where the data is read
    bias = float(other.mean() - own.mean())
    if abs(bias) > BIAS:
        yield Finding(
            "warning",
            "the data's chat template is not the teacher's",
            f"the same {len(own)} tokens of answers cost the teacher {own.mean():.2f} nats in its own template and "
            f"{other.mean():.2f} in that of the data's tokenizer, a difference of {bias:+.2f}",
            "give the data's tokenizer the teacher's template, or take the teacher's tokenizer for the data",
        )


def _begins(reads: Any) -> bool:
    tokens = reads("a")["input_ids"]
    return bool(tokens) and reads.bos_token_id is not None and tokens[0] == reads.bos_token_id


def _put(reads: Any, template: str, question: str, answer: str) -> tuple[list[int], list[int]]:
    """The tokens of a question as a template puts it, and those of its answer."""
    asked = reads.apply_chat_template(
        [{"role": "user", "content": question}], chat_template=template, add_generation_prompt=True, tokenize=False
    )
    return (
        reads(asked, add_special_tokens=False)["input_ids"],
        reads(answer, add_special_tokens=False)["input_ids"],
    )


def _cost(asked: list[int], answer: list[int], teacher: Teacher, task: Task, device: torch.device) -> Tensor:
    """What each token of an answer costs a teacher, in nats."""
    row = torch.tensor([asked + answer])
    inputs = torch.stack([row, torch.ones_like(row)], dim=1)
    labels = torch.nn.functional.pad(row[:, 1:], (0, 1), value=-1)
    batch = Batch.of(inputs, labels, task).to(device)
    places = (
        torch.zeros(len(answer), dtype=torch.long),
        torch.arange(len(asked) - 1, len(asked) + len(answer) - 1),
    )
    logits = teacher.signals(batch).logits_at(places).double().cpu()
    return -torch.log_softmax(logits, dim=-1).gather(-1, torch.tensor(answer)[:, None])[:, 0]
