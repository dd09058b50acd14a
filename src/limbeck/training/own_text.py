"""Learning from the student's own texts: it goes on with the prompts of the data, and the teacher judges what it said.

Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist, Bachem, 2024, "On-policy distillation of language models: learning
from self-generated mistakes" (GKD), https://arxiv.org/abs/2306.13649, algorithm 1: with probability lambda a batch's
completions are the student's own samples, else the data's; no gradient flows through the sampling. Read: memory.
Deviations: terms that read labels pass over a batch of the student's own, whose tokens nobody labelled; of a
conversation of several turns only the first answer is the student's. The divergence is whatever the objective says, at
its own temperature, which has nothing to do with that of the draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from limbeck import recipe
from limbeck.data.labels.parts import UNLABELLED
from limbeck.data.packing import alone, shared
from limbeck.data.source import Data
from limbeck.errors import DataError, ModelError, ObjectiveError, RecipeError, TeacherError
from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.packed import Passage, passages
from limbeck.model import Model
from limbeck.objective import Objective
from limbeck.replay import Draw
from limbeck.signals import Batch
from limbeck.teachers.protocol import Teacher


@dataclass(frozen=True)
class OwnText:
    """Makes some batches of what the student goes on with; keeps the protocol `Practice`.

    Args:
        share: The probability with which a batch is one of the student's own, 0 to 1.
        temperature: Of the draws; 0 takes the likeliest token each time.
        length: Tokens of a completion at most; fewer where the row or the context is full.
        end: The tokens with which the data's documents end.
    """

    share: float
    temperature: float
    length: int
    end: tuple[int, ...]

    def check(self, student: Model, teacher: Teacher | None, objective: Objective) -> None:
        """See the protocol.

        Raises:
            ModelError: When the student does not speak.
            TeacherError: When there is no teacher, or it is a recording, which answers what it was asked before.
            ObjectiveError: When no term asks the teacher, or one keeps a memory of the data's rows.
        """
        if not isinstance(student.network, LanguageNetwork) or student.class_index is not None:
            raise ModelError(
                "the student cannot go on with a text, and training.own_text asks it to",
                expected="a causal language model, such as causal(depth=6)",
            )
        if teacher is None or not objective.needs().teacher:
            raise ObjectiveError(
                f"{objective!r} asks no teacher, and own text has no labels to learn from",
                expected="a teacher, and a term that reads what it says",
                remedy="objective: kd(temperature=1), or leave training.own_text out",
            )
        if teacher.views is not None:
            raise TeacherError(
                f"{teacher.name} is a recording: it cannot answer texts that the student has yet to say",
                expected="a teacher that answers while the student learns",
                remedy="the model that was recorded, without record; or leave training.own_text out",
            )
        if objective.remembers:
            raise ObjectiveError(
                f"{objective!r} keeps a memory of the data's rows, and own texts are none of them",
                remedy="leave that term out, or training.own_text",
            )

    def own(self, seed: int, step: int) -> bool:
        """Whether the batch of a step is one of the student's own."""
        return float(Draw.of(torch.tensor([step]), seed, 0, "own text").uniforms(1)) < self.share

    def batch(self, drawn: Batch, student: Model, seed: int, step: int) -> Batch:
        """See the protocol; a batch without a prompt stays as it was drawn."""
        if not self.own(seed, step):
            return drawn
        by_row = passages(drawn.inputs, drawn.known)
        found = [(row, passage) for row, several in enumerate(by_row) for passage in several]
        if not found:
            return drawn
        texts = self._said(student, [passage for _, passage in found], drawn.inputs.shape[2], seed, step)
        packed = bool((drawn.inputs[:, 1] > 1).any())
        sizes = np.array([len(text) for text in texts], dtype=np.int64)
        rows = shared(sizes, drawn.inputs.shape[2]) if packed else alone(sizes)
        inputs, labels, counted = laid(
            [[(texts[place], len(found[place][1].prompt)) for place in row.tolist()] for row in rows]
        )
        device = drawn.inputs.device
        first = torch.tensor([found[int(row[0])][0] for row in rows], device=device)
        mask = counted.to(device)
        return replace(
            drawn,
            inputs=inputs.to(device, drawn.inputs.dtype),
            labels=labels.to(device),
            mask=mask,
            known=torch.zeros_like(mask),
            ids=drawn.ids[first],
            views=drawn.views[first],
            rationale=None,
        )

    def _said(self, student: Model, found: Sequence[Passage], most: int, seed: int, step: int) -> list[list[int]]:
        """Each prompt with what the student goes on with, as far as a row has room."""
        network = student.network
        assert isinstance(network, LanguageNetwork)
        prompts = [list(passage.prompt) for passage in found]
        longest = max(map(len, prompts))
        room = max(1, min(self.length, (network.context or longest + self.length) - longest))
        how = Sampling(room, self.end, self.temperature, seed=seed * 1_000_003 + step)
        said = network.generate(prompts, how)
        return [[*prompt, *rest][:most] for prompt, rest in zip(prompts, said, strict=True)]


def laid(
    rows: Sequence[Sequence[tuple[Sequence[int], int]]],
) -> tuple[Int[Tensor, "rows 2 length"], Int[Tensor, "rows length"], Bool[Tensor, "rows length"]]:
    """Texts as rows, with the next token at each position, and where that token is not of the prompt.

    Args:
        rows: The texts of each row, and how many tokens of each are its prompt.

    Returns:
        Tokens and numbers of documents, 0 for padding; labels, -1 where no next token is learnt; and which positions
        count. Rows are as long as the longest.
    """
    length = max(sum(len(text) for text, _ in row) for row in rows)
    inputs = torch.zeros(len(rows), 2, length, dtype=torch.int64)
    labels = torch.full((len(rows), length), UNLABELLED, dtype=torch.int64)
    for number, row in enumerate(rows):
        place = 0
        for document, (text, prompt) in enumerate(row, 1):
            after = place + len(text)
            inputs[number, 0, place:after] = torch.tensor(text)
            inputs[number, 1, place:after] = document
            labels[number, place + prompt - 1 : after - 1] = torch.tensor(text[prompt:], dtype=torch.int64)
            place = after
    return inputs, labels, labels != UNLABELLED


def own_text(said: recipe.OwnText | None, data: Data, processes: int) -> OwnText | None:
    """What a recipe says of own text, for some data; None where it says nothing.

    Args:
        said: The recipe's `training.own_text`.
        data: Its documents have prompts, and tokens with which they end.
        processes: How many train together.

    Raises:
        DataError: When the data has no prompts to go on with.
        RecipeError: When several processes would each draw texts of their own.
    """
    if said is None:
        return None
    if processes > 1:
        raise RecipeError(
            f"training.own_text draws texts, and {processes} processes would each draw others",
            expected="one process",
            remedy="train in a single process, or leave training.own_text out",
        )
    facts, known = data.facts.get("tokens", {}), data.train.known
    # Where nobody says what is learnt, a document that is learnt from its first token on has no prompt.
    whole = facts["learnt"] == "all" if "learnt" in facts else bool(known.reshape(len(known), -1)[:, 0].any())
    if data.labels != "tokens" or whole:
        raise DataError(
            "training.own_text asks the student to go on with prompts, and the data has none",
            expected="prompts with completions, or messages",
            remedy="columns: {inputs: prompt, label: completion}, or leave training.own_text out",
        )
    end = tuple(data.classes.index(name) for name in facts.get("ends", ()))
    return OwnText(said.share, said.temperature, said.length, end)
