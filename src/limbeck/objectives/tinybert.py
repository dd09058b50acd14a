"""TinyBERT: hidden states, attention scores and embeddings of a transformer, each by its mean squared error.

Jiao, Yin, Shang, Jiang, Chen, Li, Wang, Liu, 2019, https://arxiv.org/abs/1909.10351, section 3.1: equation 7 (attention
matrices before the softmax), equation 8 (hidden states through a learnt matrix), equation 9 (embeddings through another
one), added with weight 1 each. Read: memory, and summaries that give these equations.
Which layers learn from which is the reader's to say: the paper takes every third of twelve for a student of four. Its
fourth part, soft targets at temperature 1, is `kd(temperature=1)`, another term.
Deviations:
- one matrix serves all hidden states, as in the authors' code; that code, against the paper, has the embeddings use
  the same one and adds a bias, which is not followed;
- a token's scores are averaged over the tokens it attends to, then over tokens; the authors' code sets the scores of
  padding to zero in both models and averages over them too;
- where the mask counts positions, each is a value of its own, so that a long row weighs more than a short one; where it
  counts rows, the tokens of a row are averaged, padding among them.
"""

from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor, nn

from limbeck.alignment import ready, seeded, through
from limbeck.errors import ObjectiveError
from limbeck.heads import Name, Projections, by_place, check_tokens, projected, relations, tokens, visible
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class TinyBERT(Objective):
    """Sum of the mean squared errors of the parts that are named: hidden states, attention scores, embeddings.

    A part is left out where its layers are. `setup` makes the matrices, which train with the student. Queries and keys
    are what the layers say: positions that a network turns into them later (rotary, relative) are not seen.

    Args:
        student_hidden: Layers of the student that say hidden states.
        teacher_hidden: As many of the teacher, in the same order.
        student_attention: Of each attention of the student its layers: (queries, keys), or (fused,) for a layer that
            says queries, keys and values side by side; such as (("layer1.attention.projections",),).
        teacher_attention: As many of the teacher, in the same order.
        heads: Attention heads, of both models; needed where attention is compared.
        student_embedding: Layer of the student that says the embeddings.
        teacher_embedding: The same of the teacher.
        student_prefix: Leading tokens of the student to leave out, such as class tokens that the teacher has not.
        teacher_prefix: The same of the teacher.
        causal: Whether a token attends to itself and earlier ones only, in both models.
    """

    family = "transformers"
    formula = "Σ mean (H·W − H_teacher)² + Σ mean (QKᵀ/√d − QKᵀ/√d of the teacher)² + mean (E·W' − E_teacher)²"

    @validate_call
    def __init__(
        self,
        student_hidden: tuple[Name, ...] = (),
        teacher_hidden: tuple[Name, ...] = (),
        student_attention: tuple[Projections, ...] = (),
        teacher_attention: tuple[Projections, ...] = (),
        heads: Annotated[int, Ge(1)] | None = None,
        student_embedding: Name | None = None,
        teacher_embedding: Name | None = None,
        student_prefix: Annotated[int, Ge(0)] = 0,
        teacher_prefix: Annotated[int, Ge(0)] = 0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.student_hidden, self.teacher_hidden = student_hidden, teacher_hidden
        self.student_attention, self.teacher_attention, self.heads = student_attention, teacher_attention, heads
        self.student_embedding, self.teacher_embedding = student_embedding, teacher_embedding
        self.student_prefix, self.teacher_prefix, self.causal = student_prefix, teacher_prefix, causal
        self._check_arguments()
        self.hidden_projector: nn.Module | None = None
        self.embedding_projector: nn.Module | None = None

    def needs(self) -> Needs:
        """All layers that are named."""
        student = {*self.student_hidden, *(name for layers in self.student_attention for name in layers)}
        teacher = {*self.teacher_hidden, *(name for layers in self.teacher_attention for name in layers)}
        if self.student_embedding is not None and self.teacher_embedding is not None:
            student, teacher = student | {self.student_embedding}, teacher | {self.teacher_embedding}
        return Needs(student_layers=frozenset(student), teacher_layers=frozenset(teacher))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Makes new matrices from the widths of hidden states and embeddings.

        Raises:
            ObjectiveError: When the models do not say the same tokens, or one model's hidden states differ in width.
        """
        check_tokens(self, student, teacher, batch)
        if self.student_hidden:
            self.hidden_projector = self._matrix("hidden", student, teacher, self.student_hidden, self.teacher_hidden)
        if self.student_embedding is not None and self.teacher_embedding is not None:
            ours, theirs = (self.student_embedding,), (self.teacher_embedding,)
            self.embedding_projector = self._matrix("embedding", student, teacher, ours, theirs)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The sum of the parts for each row, or for each position where the mask counts positions."""
        parts = [
            self._states(self.hidden_projector, student, teacher, ours, theirs, batch)
            for ours, theirs in zip(self.student_hidden, self.teacher_hidden, strict=True)
        ]
        if self.student_embedding is not None and self.teacher_embedding is not None:
            pair = self.student_embedding, self.teacher_embedding
            parts.append(self._states(self.embedding_projector, student, teacher, *pair, batch))
        for ours_, theirs_ in zip(self.student_attention, self.teacher_attention, strict=True):
            parts.append(self._scores(student, teacher, ours_, theirs_, batch))
        return by_place(torch.stack(parts).sum(dim=0), batch)

    def _states(
        self, matrix: nn.Module | None, student: Signals, teacher: Signals, ours: str, theirs: str, batch: Batch
    ) -> Float[Tensor, "rows tokens"]:
        learnt = through(ready(matrix, self), tokens(student, ours, self.student_prefix, batch))
        taught = tokens(teacher, theirs, self.teacher_prefix, batch).detach().to(learnt.dtype)
        return (learnt - taught).square().mean(dim=-1)

    def _scores(
        self, student: Signals, teacher: Signals, ours: tuple[str, ...], theirs: tuple[str, ...], batch: Batch
    ) -> Float[Tensor, "rows tokens"]:
        """Each token's squared differences of scores, averaged over the tokens it attends to and over heads."""
        assert self.heads is not None
        queries, keys = projected(student, ours, self.student_prefix, batch)[:2]
        learnt = relations(queries, keys, self.heads)
        queries, keys = projected(teacher, theirs, self.teacher_prefix, batch)[:2]
        taught = relations(queries, keys, self.heads).detach().to(learnt.dtype)
        seen = visible(batch, queries.shape[1], self.causal)
        squares = torch.where(seen, (learnt - taught).square(), 0.0)
        return (squares.sum(dim=-1) / seen.sum(dim=-1)).mean(dim=1)

    def _matrix(
        self, part: str, student: Signals, teacher: Signals, ours: tuple[str, ...], theirs: tuple[str, ...]
    ) -> nn.Module:
        widths = []
        for said, layers in ((student, ours), (teacher, theirs)):
            found = {layer: said.features[layer].shape[-1] for layer in layers}
            if len(set(found.values())) > 1:
                raise ObjectiveError(
                    f"one matrix cannot serve layers of several widths: {found}",
                    expected="hidden states of one width in each model",
                    remedy="a term tinybert(...) for each width",
                )
            widths.append(found[layers[0]])
        feature = student.features[ours[0]]
        with seeded("tinybert", part, *ours, *theirs):
            made = nn.Linear(widths[0], widths[1], bias=False)
        return made.to(feature.device, torch.promote_types(feature.dtype, torch.float32))

    def _check_arguments(self) -> None:
        pairs = (
            ("hidden", self.student_hidden, self.teacher_hidden),
            ("attention", self.student_attention, self.teacher_attention),
            ("embedding", (self.student_embedding,), (self.teacher_embedding,)),
        )
        for part, ours, theirs in pairs:
            if len(ours) != len(theirs) or (None in ours) != (None in theirs):
                raise ObjectiveError(
                    f"tinybert was given student_{part}={ours} and teacher_{part}={theirs}",
                    expected="pairs: as many layers of the one model as of the other",
                )
        if not (self.student_hidden or self.student_attention or self.student_embedding):
            raise ObjectiveError(
                "tinybert was given no layer", expected="layers of hidden states, of attention or of embeddings"
            )
        if self.student_attention and self.heads is None:
            raise ObjectiveError("tinybert compares attention and was given no heads", expected="heads=12, or such")
        if odd := [layers for layers in (*self.student_attention, *self.teacher_attention) if len(layers) > 3]:
            raise ObjectiveError(
                f"tinybert was given {odd[0]} as one attention", expected="(queries, keys), or (fused,)"
            )
