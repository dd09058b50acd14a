"""How a recording keeps what a teacher said: the seam between its numbers and the columns on disk.

    dense                                       all logits, as they were said
    dense(precision='float16')                  all logits, in two bytes each
    topk(k=64)                                  the likeliest symbols and the tail
    topk(k=64) + features(precision='int8')     and how features are kept beside them

A form is one file in `forms/`: a frozen dataclass whose fields are its arguments. It turns an answer into columns and
columns into soft targets; what those can answer they say themselves (`limbeck.targets`).
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from limbeck.errors import RecipeError, RecordingError, TeacherError, did_you_mean
from limbeck.grammar import Term, arguments, parse_sum
from limbeck.notation import called
from limbeck.objective import Needs
from limbeck.recordings import forms
from limbeck.recordings.columns import Column, Stored
from limbeck.recordings.forms.features import Features
from limbeck.signals import Batch, Signals
from limbeck.targets.hidden import HiddenTargets
from limbeck.targets.protocol import SoftTargets, without_logits
from limbeck.targets.topk import TopKTargets

SAID = "said"

Linear: TypeAlias = Callable[[str], tuple[Float[Tensor, "classes width"], Float[Tensor, " classes"] | None]]
"""From the name of a teacher's linear layer to its weight and bias, in the data's class order."""

Tables: TypeAlias = Mapping[str, Tensor]
"""What a form keeps once for the whole recording."""

AS_SAID = Features()


@runtime_checkable
class Form(Protocol):
    """One way of keeping logits; `takes` names the kinds of targets it can be made of where there are no logits."""

    takes: ClassVar[tuple[type[SoftTargets], ...]]

    def settled(self, needs: Needs, positions: bool) -> "Form":
        """The same form with what was left open settled.

        Args:
            needs: What will be asked of the recording.
            positions: Whether a row has several positions, as a text has, and an answer at each.
        """
        ...

    def layers(self) -> frozenset[str]:
        """The teacher's layers this form must hear, whatever the objective needs."""
        ...

    def tables(self, signals: Signals, linear: Linear) -> dict[str, Tensor]:
        """What is kept once, made from the first answers.

        Raises:
            RecordingError: When these answers cannot be kept in this form.
        """
        ...

    def pack(self, signals: Signals, batch: Batch, tables: Tables) -> dict[str, Stored]:
        """What is kept of the answer about some rows, on the CPU."""
        ...

    def unpack(
        self, kept: Mapping[str, Stored], tables: Tables, dense: bool
    ) -> tuple[Float[Tensor, "*rows classes"] | None, SoftTargets]:
        """The logits, where this form has them all, and the soft targets, from what was kept.

        Args:
            kept: As `pack` gave it, on any device.
            tables: On the same device.
            dense: Whether the logits themselves will be read.
        """
        ...


@dataclass(frozen=True)
class Keep:
    """What is kept of an answer: its logits in some form, features in some precision, and which rows were answered."""

    form: Form
    features: Features = AS_SAID

    def settled(self, needs: Needs, positions: bool) -> "Keep":
        """As `Form.settled`."""
        return Keep(self.form.settled(needs, positions), self.features)

    def pack(self, signals: Signals, batch: Batch, layers: tuple[str, ...], tables: Tables) -> dict[str, Stored]:
        """The columns of an answer.

        Raises:
            TeacherError: When the teacher said no logits or not all the layers, or a number that is none.
        """
        refuse_unusable(signals, layers, self.form)
        kept = self.form.pack(signals, batch, tables)
        for layer in layers:
            kept |= self.features.pack(layer, signals.features[layer])
        if signals.said is not None:
            kept[SAID] = signals.said.cpu()
        return kept

    def unpack(
        self, kept: Mapping[str, Stored], layers: tuple[str, ...], tables: Tables, dense: bool = True
    ) -> Signals:
        """The answer, from what was kept of it; `dense` says whether its logits themselves will be read."""
        logits, targets = self.form.unpack(kept, tables, dense)
        said = kept.get(SAID)
        assert said is None or isinstance(said, Tensor)
        return Signals(logits, {layer: self.features.unpack(layer, kept) for layer in layers}, targets, said)

    def columns(self, layers: tuple[str, ...], described: Mapping[str, Column]) -> list[str]:
        """Those of a recording's columns that an answer with the features of these layers is made of."""
        own = [name for name in described if not self.features.owns(name)]
        kept = [name for layer in layers for name in self.features.columns(layer)]
        return own + [name for name in kept if name in described]

    def __repr__(self) -> str:
        parts = [self.form] if self.features == AS_SAID else [self.form, self.features]
        return " + ".join(called(type(part).__module__.rpartition(".")[2], part) for part in parts)


def known_forms() -> list[str]:
    """The forms that can be asked for by name."""
    return sorted(module.name for module in pkgutil.iter_modules(forms.__path__))


def parse(text: str) -> Keep:
    """Reads how answers are to be kept, such as "topk(k=64) + features(precision='int8')".

    Raises:
        RecipeError: When a name or an argument is unknown or out of range, or there is not one form of logits.
    """
    parts = [_part(term, text) for term in parse_sum(text, "keep")]
    logits = [part for part in parts if isinstance(part, Form)]
    features = [part for part in parts if isinstance(part, Features)]
    if len(logits) != 1 or len(features) > 1:
        raise RecipeError(
            f"keep: {text} names {len(logits)} forms of logits and {len(features)} of features",
            expected="one form of logits, and features at most once: topk(k=64) + features(precision='int8')",
        )
    return Keep(logits[0], *features)


def refuse_unanswered(keep: Keep, needs: Needs, signals: Signals, targets_of: str) -> None:
    """Refuses a recording that could not answer what will be asked of it.

    Args:
        keep: How answers are kept.
        needs: What will be asked.
        signals: An answer as the recording would give it.
        targets_of: Whose answers, for the message.

    Raises:
        RecordingError: What it cannot answer, and what to keep instead.
    """
    if needs.logits and signals.logits is None:
        raise RecordingError(
            f"{targets_of} kept as {keep!r} has no dense logits, and the objective reads them",
            expected="a form that keeps all logits",
            remedy="keep: dense, or an objective that asks soft targets for a divergence, such as kd",
        )
    for divergence, temperature in sorted(needs.soft | needs.between, key=lambda pair: (pair[0].__name__, pair[1])):
        reason = (
            "it has no soft targets" if signals.targets is None else signals.targets.refuses(divergence, temperature)
        )
        if reason is not None:
            raise RecordingError(
                f"{targets_of} kept as {keep!r} cannot answer {divergence.__name__} at T={temperature:g}: {reason}",
                remedy="keep: dense answers everything",
            )


def refuse_unusable(signals: Signals, layers: tuple[str, ...], form: Form) -> None:
    """Refuses an answer that lacks layers or what the form keeps of logits, or holds numbers that are none.

    Raises:
        TeacherError: Which.
    """
    if signals.outputs is None and not isinstance(signals.targets, form.takes):
        raise without_logits("the teacher said no dense logits", signals.targets)
    missing = [layer for layer in layers if layer not in signals.features]
    if missing:
        raise TeacherError(f"the teacher said nothing of its layer {missing[0]!r}", expected="the features asked for")
    for name, tensor in {**_numbers(signals), **{layer: signals.features[layer] for layer in layers}}.items():
        # Minus infinity is the logit of an impossible class; the others would spoil every student trained on them.
        if bool((tensor.isnan() | tensor.isposinf()).any()):
            raise TeacherError(
                f"the teacher's {name} contain numbers that are not finite",
                expected="finite numbers",
                remedy="look at the teacher's weights and input transform; a half-precision teacher may overflow",
            )


def _numbers(signals: Signals) -> dict[str, Tensor]:
    """What was said of the logits, by what it is called."""
    if signals.logits is not None:
        return {"logits": signals.logits}
    if isinstance(signals.targets, TopKTargets):
        return {"logits": signals.targets.logits, "tails": signals.targets.tails}
    assert isinstance(signals.targets, HiddenTargets)
    return {"hidden states": signals.targets.hidden}


def _part(term: Term, text: str) -> Form | Features:
    name = term.call.name
    if term.weight != 1:
        raise RecipeError(f"{name} in keep: {text} has the weight {term.weight}", expected="parts without weights")
    if name not in known_forms():
        raise RecipeError(f"keep knows no form called {name!r}", remedy=did_you_mean(name, known_forms()))
    module = importlib.import_module(f"{forms.__name__}.{name}")
    kind: Any = next(v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == module.__name__)
    part: Form | Features = kind(**arguments(term.call, kind, text))
    return part
