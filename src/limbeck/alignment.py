"""How what two layers say is brought side by side: layouts, grids of patches, resolutions, widths.

A layer says flat features `(rows, width)`, a sequence `(rows, steps, width)`, or an image `(rows, channels, height,
width)`. A method that compares a layer of the student with one of the teacher calls `check_sides` in its `setup` and
`sides` in its `forward`; what it makes of the two is its own.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import isqrt
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limbeck.errors import ObjectiveError
from limbeck.precision import wide
from limbeck.signals import Batch, Signals

Layout = Literal["tokens", "channels"]
"""Of a sequence: "tokens" is (rows, steps, width), "channels" is (rows, width, steps)."""


@runtime_checkable
class TwoSided(Protocol):
    """A method that compares two layers, with the arguments of all such methods.

    Three dimensions do not show whether a sequence is `(rows, steps, width)`, as transformers, torch's recurrent layers
    with `batch_first` and all of Limbeck's students for series say it, or `(rows, width, steps)`, as `torch.nn.Conv1d`
    says it: the layout says it. The prefix is the number of leading tokens that stand for no step and no patch, such
    as 1 class token.
    """

    student_layer: str
    teacher_layer: str
    student_layout: Layout
    teacher_layout: Layout
    student_prefix: int
    teacher_prefix: int


def sides(
    method: TwoSided, student: Signals, teacher: Signals
) -> tuple[Float[Tensor, "rows ..."], Float[Tensor, "rows ..."]]:
    """The student's layer and the teacher's, of one kind; no gradient to the teacher.

    Sequences come as (rows, steps, width). One beside an image is taken for its patches, and becomes the image they are
    (`as_image`). Both come in at least float32.
    """
    learnt = arranged(student.features[method.student_layer], method.student_layout, method.student_prefix)
    taught = arranged(teacher.features[method.teacher_layer], method.teacher_layout, method.teacher_prefix)
    if {learnt.ndim, taught.ndim} == {3, 4}:
        learnt, taught = as_image(learnt), as_image(taught)
    return wide(learnt), wide(taught).detach()


def check_sides(
    method: TwoSided, student: Signals, teacher: Signals, batch: Batch, *, whole_rows: bool = False
) -> None:
    """Checks that two layers can be compared, as `sides` would bring them together.

    Where the mask counts positions, both must be sequences with one step for each.

    Args:
        method: Names the layers.
        student: What the student said.
        teacher: What the teacher said.
        batch: The rows.
        whole_rows: Whether the method looks at how a row's steps or places differ, and has one value for the row: then
            flat features, which have none, and a mask of positions are refused.

    Raises:
        ObjectiveError: When they cannot.
    """
    learnt, taught = student.features[method.student_layer], teacher.features[method.teacher_layer]
    shapes = f"{method.student_layer} {tuple(learnt.shape)}, {method.teacher_layer} {tuple(taught.shape)}"
    kinds = {learnt.ndim, taught.ndim}
    if kinds not in ({2}, {3}, {4}, {3, 4}):
        raise ObjectiveError(
            f"{method!r} cannot compare these layers: {shapes}",
            expected="both flat (2 dimensions), or each a sequence (3) or an image (4)",
            remedy="name two layers of the same kind",
        )
    if whole_rows and kinds == {2}:
        raise ObjectiveError(
            f"{method!r} compares steps or places, and these layers have none: {shapes}",
            expected="sequences (3 dimensions) or images (4)",
            remedy="name earlier layers",
        )
    if (4 in kinds or whole_rows) and batch.mask.ndim > 1:
        what = "images" if 4 in kinds else "these layers"
        raise ObjectiveError(f"{method!r} cannot compare {what} position by position", expected="a mask of rows")
    check_sequence(learnt, method.student_layer, method.student_layout, method.student_prefix)
    check_sequence(taught, method.teacher_layer, method.teacher_layout, method.teacher_prefix)
    if kinds == {3, 4}:
        for side, said, layer in (("student", learnt, method.student_layer), ("teacher", taught, method.teacher_layer)):
            layout, prefix = getattr(method, f"{side}_layout"), getattr(method, f"{side}_prefix")
            check_grid(arranged(said, layout, prefix), layer, side, prefix)
    if kinds == {3} and batch.mask.ndim > 1:
        lengths = [sequence.shape[1] for sequence in sides(method, student, teacher)]
        if lengths != [batch.mask.shape[1]] * 2:
            raise ObjectiveError(
                f"{method!r} cannot compare position by position: {shapes}",
                expected=f"the same number of steps in both as the mask has positions: {batch.mask.shape[1]}",
                remedy="say layouts and prefixes, or name two layers that say one vector for each position",
            )


def arranged(features: Shaped[Tensor, "rows ..."], layout: Layout, prefix: int) -> Shaped[Tensor, "rows ..."]:
    """A sequence as (rows, steps, width) without its leading tokens; anything else as it is.

    Args:
        features: What a layer said.
        layout: Of a sequence: its dimensions' order.
        prefix: Leading tokens that stand for no step.
    """
    if features.ndim != 3:
        return features
    sequence = features.transpose(1, 2) if layout == "channels" else features
    return sequence[:, prefix:]


def check_sequence(features: Shaped[Tensor, "rows ..."], layer: str, layout: Layout, prefix: int) -> None:
    """Checks that there is a sequence for what was said about one.

    Raises:
        ObjectiveError: When there is none, or no step is left of it.
    """
    if features.ndim != 3 and (layout != "tokens" or prefix):
        raise ObjectiveError(
            f"the layer {layer} says {tuple(features.shape)}, which has no steps",
            expected="a sequence, 3 dimensions, where a layout or a prefix is given",
            remedy="leave its layout and its prefix out",
        )
    if features.ndim == 3 and features.shape[2 if layout == "channels" else 1] <= prefix:
        raise ObjectiveError(
            f"the layer {layer} says {tuple(features.shape)}: with layout {layout!r} and {prefix} leading tokens left "
            "out, no step is left",
            expected="at least one step",
            remedy="lower the prefix, or say the other layout",
        )


def as_image(features: Shaped[Tensor, "rows ..."]) -> Shaped[Tensor, "rows channels height width"]:
    """Patches (rows, patches, width), row by row of a square picture, as the image they are; an image as it is."""
    if features.ndim == 4:
        return features
    side = isqrt(features.shape[1])
    return features.transpose(1, 2).unflatten(2, (side, side))


def check_grid(features: Shaped[Tensor, "rows ..."], layer: str, side: str, prefix: int) -> None:
    """Checks that a sequence, as `arranged` gives it, can be the patches of a square picture; an image always can.

    Args:
        features: What the layer said, arranged.
        layer: Its name.
        side: "student" or "teacher".
        prefix: The leading tokens that were left out already.

    Raises:
        ObjectiveError: When the number of steps is no square.
    """
    steps = features.shape[1]
    if features.ndim == 4 or isqrt(steps) ** 2 == steps:
        return
    size = isqrt(steps)
    raise ObjectiveError(
        f"the layer {layer} says {steps} tokens, to be laid out beside an image",
        expected="one token for each patch of a square picture",
        remedy=f"{side}_prefix={prefix + steps - size**2} would leave {size} x {size} patches, if so many of the "
        f"leading tokens are no patches; or say {side}_layout; or name a layer that says an image",
    )


def points(signals: Signals, layer: str | None, batch: Batch) -> Float[Tensor, "n width"]:
    """What a layer says of each counted row, or counted position, flattened; in at least float32.

    Args:
        signals: What a network said.
        layer: Name of a layer; None means the logits.
        batch: Says which count.
    """
    said = signals.logits if layer is None else signals.features[layer]
    assert said is not None
    return wide(said[batch.mask].flatten(1))


def same_resolution(
    first: Float[Tensor, "rows ..."], second: Float[Tensor, "rows ..."]
) -> tuple[Float[Tensor, "rows ..."], Float[Tensor, "rows ..."]]:
    """Pools the steps of two sequences, or height and width, to the smaller of the two; flat features have none."""
    for place in {2: (), 3: (1,), 4: (2, 3)}[first.ndim]:
        size = min(first.shape[place], second.shape[place])
        first, second = pooled(first, place, size), pooled(second, place, size)
    return first, second


def pooled(features: Float[Tensor, "rows ..."], place: int, size: int) -> Float[Tensor, "rows ..."]:
    """Adaptive average pooling of one dimension.

    Place i of n becomes the mean of the places from floor(i L / n) up to ceil((i + 1) L / n) of L. As a matrix product:
    torch's own, with bins that overlap, adds its gradient up in no fixed order on a GPU, and a resumed run could not
    end in the same bits.

    Args:
        features: Any.
        place: Number of the dimension.
        size: Its size afterwards; a larger one than before repeats places.
    """
    length = features.shape[place]
    if length == size:
        return features
    bins, places = torch.arange(size, device=features.device)[:, None], torch.arange(length, device=features.device)
    inside = (places >= bins * length // size) & (places < ((bins + 1) * length + size - 1) // size)
    shares = inside.to(features.dtype) / inside.sum(dim=1, keepdim=True)
    return (features.movedim(place, -1) @ shares.mT).movedim(-1, place)


def resized(
    image: Float[Tensor, "rows channels height width"], height: int, width: int
) -> Float[Tensor, "rows channels height2 width2"]:
    """An image of another resolution: averaged where it is smaller, repeated where it is larger by a whole factor."""
    return pooled(pooled(image, 2, height), 3, width)


def by_position(features: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows positions width"]:
    """Steps or places of an image, each with its vector; flat features are one position."""
    if features.ndim == 2:
        return features[:, None, :]
    return features if features.ndim == 3 else features.flatten(2).transpose(1, 2)


def width_of(features: Shaped[Tensor, "rows ..."]) -> int:
    """The width of arranged features: their channels where they are images."""
    return int(features.shape[1 if features.ndim == 4 else -1])


def unit(vectors: Float[Tensor, "*positions width"]) -> Float[Tensor, "*positions width"]:
    """Vectors of length 1 in their directions; a vector of zeros stays one and gets no gradient."""
    largest = vectors.detach().abs().amax(dim=-1, keepdim=True)
    apart = largest > 0
    # In units of the largest number, so that squares neither overflow nor vanish.
    scaled = vectors / torch.where(apart, largest, 1.0)
    squares = scaled.square().sum(dim=-1, keepdim=True)
    return torch.where(apart, scaled / torch.where(apart, squares, 1.0).sqrt(), 0.0)


@contextmanager
def seeded(*names: str) -> Iterator[None]:
    """Draws of the block come from a seed of their own, made of torch's current seed and some names.

    Another seed of a run gives other numbers, the same seed the same, and the global generator is left where it was, so
    that a student with a projector and its control without one see the same random numbers.

    Args:
        *names: What the numbers are for, such as the method and its layers.
    """
    text = "|".join((str(torch.initial_seed()), *names))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))
        yield


def projector(source: Float[Tensor, "rows ..."], target: Float[Tensor, "rows ..."], *names: str) -> nn.Module:
    """A new map from the width of one layer to that of another: linear, or a 1x1 convolution for images.

    Args:
        source: What is to be projected, arranged.
        target: What has the width that is wanted, of the same kind.
        *names: For `seeded`.
    """
    with seeded(*names):
        if source.ndim == 4:
            made: nn.Module = nn.Conv2d(width_of(source), width_of(target), kernel_size=1)
        else:
            made = nn.Linear(width_of(source), width_of(target))
    return beside(made, source)


def bottleneck(
    source: Float[Tensor, "rows ..."], target: Float[Tensor, "rows ..."], narrowing: int, *names: str
) -> nn.Module:
    """A new map as `projector`, of three maps with ReLU between them: for images 1x1, 3x3 and 1x1 convolutions.

    Args:
        source: What is to be projected, arranged.
        target: What has the width that is wanted, of the same kind.
        narrowing: How many times narrower than the target the middle is.
        *names: For `seeded`.
    """
    ours, theirs = width_of(source), width_of(target)
    within = max(theirs // narrowing, 1)
    with seeded(*names):
        made = (
            (nn.Conv2d(ours, within, 1), nn.Conv2d(within, within, 3, padding=1), nn.Conv2d(within, theirs, 1))
            if source.ndim == 4
            else (nn.Linear(ours, within), nn.Linear(within, within), nn.Linear(within, theirs))
        )
    return beside(nn.Sequential(made[0], nn.ReLU(), made[1], nn.ReLU(), made[2]), source)


def beside(module: nn.Module, features: Float[Tensor, "rows ..."]) -> nn.Module:
    """A module on the device of some features, in their precision.

    Never narrower than float32, also when the dry batch ran in bfloat16.
    """
    return module.to(features.device, torch.promote_types(features.dtype, torch.float32))


def matched(source: Float[Tensor, "rows ..."], target: Float[Tensor, "rows ..."], *names: str) -> nn.Module:
    """A `projector` where two widths differ; nothing, as a module, where they are the same."""
    return nn.Identity() if width_of(source) == width_of(target) else projector(source, target, *names)


def through(module: nn.Module, features: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
    """What a module says of features, in the precision of its weights; sequences keep their order of dimensions."""
    weight = next(module.parameters(), None)
    said: Tensor = module(features if weight is None else features.to(weight.dtype))
    return wide(said)


def ready(module: nn.Module | None, method: object) -> nn.Module:
    """What `setup` made.

    Raises:
        ObjectiveError: When it has not been called.
    """
    if module is None:
        raise ObjectiveError(
            f"{method!r} has no projector yet",
            expected="its shapes, from one batch",
            remedy="call objective.setup(student_signals, teacher_signals, batch) before training and loading",
        )
    return module
