"""Numbers for each row: squared error in units of their spread, and what errors look like in the labels' own unit."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from jaxtyping import Bool, Float, Shaped
from pydantic import AllowInfNan, validate_call
from torch import Tensor

from limbeck.errors import DataError, RecipeError
from limbeck.metrics.examples import shortened, telling
from limbeck.metrics.known import counted
from limbeck.metrics.values import explained, mean_absolute, root_mean_square
from limbeck.notation import spelled
from limbeck.precision import wide
from limbeck.records import Panel
from limbeck.scales import Scaled, mean_of_numbers
from limbeck.task import LabelKind, Meaning

_NAMED = range(2, 9)
_CURVES = 4
_GROUPS = 20
_SHOWN_QUANTITIES = 4
Finite = Annotated[float, AllowInfNan(False)]
Positive = Annotated[float, Gt(0), AllowInfNan(False)]


class Regression:
    """Each row has one number or several, in whatever unit; NaN where one is not known. Outputs are in the same unit.

    Metrics, each the mean over quantities: `rmse` and `mae` in the labels' unit, and `r2`, which is 0 for the answer
    that never changes. Where there are 2 to 8 quantities, `rmse_NAME` beside them. Quantities in different units have
    a mean that weighs the greater numbers more.

    Args:
        centre: The mean of each quantity over the known training labels; found in training.
        scale: The standard deviation likewise. A network says (answer − centre) / scale, which is of size about 1.
    """

    name: ClassVar[str] = "regression"
    labels: ClassVar[LabelKind] = "values"
    learnt: ClassVar[frozenset[str]] = frozenset({"centre", "scale"})
    baseline_name: ClassVar[str] = "the mean of the training labels"
    says: ClassVar[frozenset[Meaning]] = frozenset({"values"})
    selection: ClassVar[str] = "rmse"
    higher_is_better: ClassVar[bool] = False
    headline: ClassVar[tuple[str, ...]] = ("rmse", "mae", "r2")
    objective: ClassVar[str] = "0.5 * regression + 0.5 * labels"

    @validate_call
    def __init__(self, centre: tuple[Finite, ...] | None = None, scale: tuple[Positive, ...] | None = None) -> None:
        if centre is not None and scale is not None and len(centre) != len(scale):
            raise RecipeError(
                f"regression has {len(centre)} numbers in centre and {len(scale)} in scale",
                expected="one for each quantity",
            )
        self.centre, self.scale = centre, scale

    def __repr__(self) -> str:
        return spelled(self)

    def fitted(self, labels: Float[Tensor, "rows quantities"], known: Bool[Tensor, " rows"]) -> "Regression":
        """With `centre` and `scale` of the known labels where they are not given; a constant quantity has scale 1."""
        if self.centre is not None and self.scale is not None:
            return self
        means, deviations = [], []
        for column in labels[known].double().unbind(dim=1):
            there = column[torch.isfinite(column)]
            means.append(float(there.mean()) if len(there) else 0.0)
            deviations.append((float(there.std(correction=0)) if len(there) else 0.0) or 1.0)
        return Regression(self.centre or tuple(means), self.scale or tuple(deviations))

    def restore(self) -> Scaled | None:
        """From numbers of size about 1 to the labels' unit; none before the scale is known."""
        if self.centre is None or self.scale is None:
            return None
        return Scaled(self.centre, self.scale)

    def check_labels(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."], classes: Sequence[str]) -> None:
        """Checks that there are as many quantities as names, and that each is known somewhere.

        Raises:
            DataError: When they are not.
        """
        if not labels.is_floating_point() or labels.ndim != 2 or labels.shape[1] != len(classes):
            raise DataError(
                f"the labels are {labels.dtype} of shape {tuple(labels.shape)}",
                expected=f"decimal numbers of shape (rows, {len(classes)})",
                remedy="labels.float()[:, None] for one quantity",
            )
        if self.scale is not None and len(self.scale) != len(classes):
            raise DataError(
                f"{self!r} has {len(self.scale)} quantities and the labels have {len(classes)}",
                expected="the same",
                remedy="task: regression, which finds centre and scale itself",
            )
        seen = torch.isfinite(labels[known]).any(dim=0)
        if bool(known.any()) and not bool(seen.all()):
            missing = classes[int((~seen).nonzero()[0])]
            raise DataError(
                f"no training row knows the quantity {missing!r}",
                expected="labels of every quantity",
                remedy="leave the quantity out",
            )

    def output_size(self, classes: Sequence[str]) -> int:
        """One number for each quantity."""
        return len(classes)

    def numbers(self, outputs: Float[Tensor, "*rows quantities"]) -> Float[Tensor, "*rows quantities"]:
        """Every number in units of the scale."""
        said = wide(outputs)
        return said if self.scale is None else said / said.new_tensor(self.scale)

    def errors(
        self, outputs: Float[Tensor, "*rows quantities"], labels: Float[Tensor, "*rows quantities"]
    ) -> tuple[Float[Tensor, "*rows quantities"], Bool[Tensor, "*rows quantities"]]:
        """The distance from each known label in units of the scale."""
        there, said = torch.isfinite(labels), wide(outputs)
        return self.numbers(torch.where(there, said - labels.to(said.dtype).nan_to_num(), 0.0)), there

    def mean(self, answers: Sequence[Float[Tensor, "..."]], weights: Sequence[float]) -> Float[Tensor, "..."]:
        """The mean of each number."""
        return mean_of_numbers(answers, weights)

    def label_loss(
        self, outputs: Float[Tensor, "*rows quantities"], labels: Float[Tensor, "*rows quantities"]
    ) -> Float[Tensor, "*rows"]:
        """The mean squared error of each row's known quantities, in units of the scale."""
        errors, there = self.errors(outputs, labels)
        return errors.square().sum(dim=-1) / there.sum(dim=-1).clamp(min=1)

    def metrics(
        self,
        outputs: Float[Tensor, "rows quantities"],
        labels: Float[Tensor, "rows quantities"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str] = (),
    ) -> dict[str, float]:
        """Errors over the rows of which a quantity is known; see the class.

        Raises:
            DataError: When none is known.
            ModelError: When an output is not finite.
        """
        said, truth = counted(outputs, labels, known, expected="finite numbers")
        errors = said - truth.double()
        each = _each(errors)
        values = {
            "rmse": float(each.nanmean()),
            "mae": float(torch.tensor([mean_absolute(column) for column in errors.unbind(dim=1)]).double().nanmean()),
        }
        found = explained(said, truth.double())
        if found is not None:
            values["r2"] = found
        if len(classes) in _NAMED:
            scored = torch.isfinite(each).tolist()
            values |= {
                f"rmse_{name}": value
                for name, value, there in zip(classes, each.tolist(), scored, strict=True)
                if there
            }
        return values

    def baseline(self, inputs: Shaped[Tensor, "rows ..."]) -> Float[Tensor, "rows quantities"]:
        """The mean of the training labels for every row."""
        assert self.centre is not None, "a run fits its task before it trains"
        return torch.tensor(self.centre).expand(len(inputs), -1)

    def likeness(
        self, outputs: Float[Tensor, "rows quantities"], teacher: Float[Tensor, "rows quantities"]
    ) -> dict[str, float]:
        """Root mean square distance from the teacher in the labels' unit, averaged over quantities."""
        return {"rmse_to_teacher": float(_each(outputs.detach().cpu().double() - teacher.detach().cpu()).mean())}

    def decode(self, outputs: Float[Tensor, "rows quantities"], classes: Sequence[str]) -> list[Mapping[str, object]]:
        """For each row its numbers by name."""
        return [dict(zip(classes, row, strict=True)) for row in outputs.detach().float().cpu().tolist()]

    def reading(self, classes: Sequence[str]) -> Mapping[str, object]:
        """Numbers in the labels' unit."""
        return {"kind": "numbers", "names": list(classes)}

    def panels(
        self,
        outputs: Float[Tensor, "rows quantities"],
        labels: Float[Tensor, "rows quantities"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str],
    ) -> list[Panel]:
        """A table by quantity, and for the first four the answer by the truth: means of up to 20 groups of rows.

        Raises:
            DataError: When none is known.
            ModelError: When an output is not finite.
        """
        said, truth = counted(outputs, labels, known, expected="finite numbers")
        rows: list[list[object]] = []
        curves: list[Panel] = []
        for place, name in enumerate(classes):
            there = torch.isfinite(truth[:, place])
            ours, theirs = said[there, place], truth[there, place].double()
            if not len(ours):
                continue
            found = explained(ours[:, None], theirs[:, None])
            rows.append([name, root_mean_square(ours - theirs), mean_absolute(ours - theirs), found, len(ours)])
            if len(curves) < _CURVES:
                curves.append(_by_truth(ours, theirs, name))
        table = {"columns": ["quantity", "rmse", "mae", "r2", "rows"], "rows": rows}
        return [Panel("by_quantity", "Errors by quantity", "table", table), *curves]

    def teacher_saw(
        self,
        inputs: Shaped[Tensor, "rows ..."],
        teacher: Float[Tensor, "rows quantities"],
        labels: Float[Tensor, "rows quantities"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str],
        temperature: float,
    ) -> Panel:
        """Eight rows, evenly spread in their order, with label and teacher of the first four quantities."""
        shown = list(classes)[:_SHOWN_QUANTITIES]
        rows: list[list[object]] = []
        for row in telling(len(teacher), None):
            cells: list[object] = [str(row)]
            for place in range(len(shown)):
                label = labels[row, place].double()
                there = bool(known[row]) and bool(torch.isfinite(label))
                cells += [float(label) if there else None, shortened(teacher[row, place : place + 1])[0]]
            rows.append(cells)
        columns = ["row", *(f"{name}, {who}" for name in shown for who in ("label", "teacher"))]
        return Panel("teacher_saw", "What the teacher said", "table", {"columns": columns, "rows": rows})


def _each(errors: Tensor) -> Tensor:
    return torch.tensor([root_mean_square(column) for column in errors.unbind(dim=1)], dtype=torch.float64)


def _by_truth(said: Tensor, truth: Tensor, name: str) -> Panel:
    """Means of neighbours: hundreds of single marks would hide how answers shrink towards the middle."""
    order = torch.argsort(truth, stable=True)
    groups = torch.tensor_split(order, min(_GROUPS, len(order)))
    x, y = ([float(values[group].mean()) for group in groups] for values in (truth, said))
    data = {
        "x": x,
        "y": y,
        "counts": [len(group) for group in groups],
        "x_label": "label",
        "y_label": "answer, mean",
        "diagonal": True,
        "range": [min(*x, *y), max(*x, *y)],
    }
    return Panel(f"by_truth_{name}", f"Answer by label: {name}", "curve", data)
