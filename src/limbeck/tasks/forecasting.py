"""The next readings of a series, and whether one of them crosses a threshold: errors by step, alarms, calibration."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float, Shaped
from pydantic import AllowInfNan, validate_call
from torch import Tensor
from torch.nn import functional

from limbeck.divergences import binary_kl, binary_mean
from limbeck.errors import DataError, RecipeError
from limbeck.metrics.events import event_metrics, event_panels
from limbeck.metrics.examples import shortened, telling
from limbeck.metrics.known import counted
from limbeck.metrics.values import error_by_step, mean_absolute, pinball, root_mean_square
from limbeck.notation import spelled
from limbeck.precision import wide
from limbeck.records import Panel
from limbeck.scales import Ahead, mean_of_numbers
from limbeck.task import LabelKind, Meaning

_SHOWN_READINGS = 96
Finite = Annotated[float, AllowInfNan(False)]


class Forecasting:
    """The readings of one channel 1 to `horizon` steps after a row, and an event: that one of them crosses a threshold.

    Rows are (channels, steps), labels the readings to come, (rows, horizon), NaN where one is missing. Outputs are, in
    the readings' unit, a number for each step (for each step its quantiles), and last, where there is a threshold, the
    logit of the event. The event is true where a known reading crosses, false where all are known and none does, and
    unknown otherwise.

    Metrics, in the readings' unit: `rmse` and `mae` at the last step, as the field reports them; `rmse_mean`, the root
    mean square error over all steps; with quantiles `coverage`, the share of readings between the outermost, and
    `pinball`, their mean loss. Of the event: `auprc`, `auroc`, `brier`, `ece` and `event_share`. A metric that the rows
    cannot give is left out: those of the event where it is known of no row, `auprc` and `auroc` where it never happens.

    Args:
        horizon: How many readings are forecast.
        below: The event is a reading below this. Not together with `above`.
        above: The event is a reading above this.
        quantiles: Forecast these instead of the mean, ascending and with 0.5 among them, which is the point forecast.
        channel: Which channel of the rows is forecast, from 0.
        relative: The network says the change from the row's last reading, so that it need not learn to copy it.
        event_weight: Of the event's cross-entropy beside the squared error. Both begin near 1: a forecast of no change
            costs about 1 in units of `scale`, a coin log 2 nats.
        positive: What a row with the event counts for in the event's cross-entropy. Other numbers than 1 find rare
            events sooner, but move every logit by about log(positive): the probability is then no frequency any more.
        select: The validation metric by which weights are chosen.
        centre: Mean of the readings; found in training. Not used where `relative`.
        scale: The unit of the loss and of the network's own numbers; found in training, see `fitted`.
    """

    name: ClassVar[str] = "forecasting"
    labels: ClassVar[LabelKind] = "values"
    learnt: ClassVar[frozenset[str]] = frozenset({"centre", "scale"})
    baseline_name: ClassVar[str] = "the last reading said again"

    @validate_call
    def __init__(
        self,
        horizon: Annotated[int, Ge(1)],
        below: Finite | None = None,
        above: Finite | None = None,
        quantiles: tuple[Annotated[float, Gt(0), Lt(1)], ...] = (),
        channel: Annotated[int, Ge(0)] = 0,
        relative: bool = True,
        event_weight: Annotated[float, Ge(0), AllowInfNan(False)] = 1.0,
        positive: Annotated[float, Gt(0), AllowInfNan(False)] = 1.0,
        select: Literal["rmse", "mae", "rmse_mean", "auprc", "auroc"] = "rmse",
        centre: Finite | None = None,
        scale: Annotated[float, Gt(0), AllowInfNan(False)] | None = None,
    ) -> None:
        self.horizon, self.below, self.above, self.quantiles = horizon, below, above, quantiles
        self.channel, self.relative, self.event_weight, self.positive = channel, relative, event_weight, positive
        self.select, self.centre, self.scale = select, centre, scale
        self._check()

    def _check(self) -> None:
        if self.below is not None and self.above is not None:
            raise RecipeError("forecasting has below and above", expected="one event", remedy="leave one out")
        if self.quantiles and (0.5 not in self.quantiles or list(self.quantiles) != sorted(set(self.quantiles))):
            raise RecipeError(
                f"forecasting(quantiles={self.quantiles})",
                expected="ascending quantiles with 0.5 among them",
                remedy="quantiles=(0.1, 0.5, 0.9)",
            )
        if self.select in ("auprc", "auroc") and not self.has_event:
            raise RecipeError(f"forecasting(select={self.select!r}) needs an event", expected="below or above a number")

    def __repr__(self) -> str:
        return spelled(self)

    @property
    def has_event(self) -> bool:
        """Whether there is a threshold."""
        return self.below is not None or self.above is not None

    @property
    def event_name(self) -> str:
        """The event in words, such as "a reading below 70"."""
        return f"a reading below {self.below:g}" if self.below is not None else f"a reading above {self.above:g}"

    @property
    def says(self) -> frozenset[Meaning]:
        """Values, and an event where there is a threshold."""
        return frozenset({"values", "event"}) if self.has_event else frozenset({"values"})

    @property
    def selection(self) -> str:
        """What `select` says."""
        return self.select

    @property
    def higher_is_better(self) -> bool:
        """Errors are better small, the others great."""
        return self.select in ("auprc", "auroc")

    @property
    def headline(self) -> tuple[str, ...]:
        """The chosen metric first."""
        event = ("auprc", "auroc", "brier", "ece") * self.has_event
        return tuple(dict.fromkeys((self.select, "rmse", "mae", "rmse_mean", *event)))

    @property
    def objective(self) -> str:
        """The event beside the readings, where there is one."""
        return "0.5 * regression + " + "0.5 * event_kd(temperature=1) + " * self.has_event + "0.5 * labels"

    def fitted(self, labels: Float[Tensor, "rows horizon"], known: Bool[Tensor, " rows"]) -> "Forecasting":
        """With `centre` and `scale` of the readings to come, where they are not given.

        The scale is what the network's numbers are multiplied by, so that they come near 1: where it says changes, the
        root mean square change from the first step to the last, which is all that labels show of changes; where there
        is one step, or it says the readings themselves, the standard deviation of the readings.

        Raises:
            DataError: When the labels have another width than the horizon.
        """
        self._check_width(labels)
        seen = labels[known].double()
        there = seen[torch.isfinite(seen)]
        if not len(there) or (self.scale is not None and (self.relative or self.centre is not None)):
            return self
        change = seen[:, -1] - seen[:, 0]
        change = change[torch.isfinite(change)]
        changing = self.relative and self.horizon > 1 and len(change) > 0
        found = float(change.square().mean().sqrt() if changing else there.std(correction=0))
        centre = self.centre if self.relative or self.centre is not None else float(there.mean())
        return Forecasting(**{**vars(self), "centre": centre, "scale": self.scale or found or 1.0})

    def restore(self) -> Ahead:
        """From the network's numbers to readings; quantiles come out in their order, the event as it is."""
        middle, width = (self.quantiles.index(0.5), len(self.quantiles)) if self.quantiles else (0, 1)
        return Ahead(self.horizon, width, middle, self.channel, self.relative, self.centre or 0.0, self.scale or 1.0)

    def _check_width(self, labels: Tensor) -> None:
        if labels.ndim != 2 or labels.shape[1] != self.horizon:
            raise DataError(
                f"the labels have the shape {tuple(labels.shape)} and the task is {self!r}",
                expected=f"the {self.horizon} readings after each row: (rows, {self.horizon})",
                remedy="the same horizon in task and data.windows",
            )

    def check_labels(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."], classes: Sequence[str]) -> None:
        """Checks the labels' width, and that the event happens in some rows and does not in others.

        Raises:
            DataError: When it does not, so that nothing could be learnt of the event.
        """
        self._check_width(labels)
        if not self.has_event or not bool(known.any()):
            return
        happens, certain = self.event_labels(labels[known])
        share = float(happens[certain].mean()) if bool(certain.any()) else math.nan
        if share in (0.0, 1.0) or math.isnan(share):
            what = {0.0: "never happens", 1.0: "always happens"}.get(share, "is known of no row")
            readings = labels[known][torch.isfinite(labels[known])]
            extreme = float(readings[self._beyond(readings).argmax()])
            raise DataError(
                f"{self.event_name} {what} in the {int(certain.sum())} training rows; the most extreme is {extreme:g}",
                expected="an event that happens in some rows and not in others",
                remedy=f"another threshold, more data, or forecasting(horizon={self.horizon}) without an event",
            )

    def output_size(self, classes: Sequence[str]) -> int:
        """A number for each step and quantile, and one for the event."""
        return self.horizon * max(1, len(self.quantiles)) + self.has_event

    def quantile_values(self, outputs: Float[Tensor, "*rows outputs"]) -> Float[Tensor, "*rows horizon quantiles"]:
        """The quantiles of each step, ascending; the forecast alone where there are none."""
        width = max(1, len(self.quantiles))
        return outputs[..., : self.horizon * width].unflatten(-1, (self.horizon, width))

    def values(self, outputs: Float[Tensor, "*rows outputs"]) -> Float[Tensor, "*rows horizon"]:
        """The point forecast of each step: the median where there are quantiles."""
        return self.quantile_values(outputs)[..., self.quantiles.index(0.5) if self.quantiles else 0]

    def event(self, outputs: Float[Tensor, "*rows outputs"]) -> Float[Tensor, "*rows"]:
        """The logit of the event.

        Raises:
            RecipeError: When the task has none.
        """
        if not self.has_event:
            raise RecipeError(f"{self!r} has no event", expected="below=NUMBER or above=NUMBER")
        return outputs[..., self.output_size(()) - 1]

    def event_labels(
        self, labels: Float[Tensor, "*rows horizon"]
    ) -> tuple[Float[Tensor, "*rows"], Bool[Tensor, "*rows"]]:
        """1 where a known reading crosses, else 0; and where that is known: one crosses, or none is missing."""
        happens = (self._beyond(labels) > 0).any(dim=-1)
        return happens.to(labels.dtype), happens | torch.isfinite(labels).all(dim=-1)

    def _beyond(self, readings: Tensor) -> Tensor:
        """How far beyond the threshold readings are, below 0 where they do not reach it."""
        if self.below is not None:
            return self.below - readings
        assert self.above is not None
        return readings - self.above

    def numbers(self, outputs: Float[Tensor, "*rows outputs"]) -> Float[Tensor, "*rows numbers"]:
        """Every step and quantile in units of the scale."""
        return wide(self.quantile_values(outputs).flatten(-2)) / (self.scale or 1.0)

    def errors(
        self, outputs: Float[Tensor, "*rows outputs"], labels: Float[Tensor, "*rows horizon"]
    ) -> tuple[Float[Tensor, "*rows horizon"], Bool[Tensor, "*rows horizon"]]:
        """The point forecast's distance from each known reading, in units of the scale."""
        there = torch.isfinite(labels)
        said = wide(self.values(outputs))
        return torch.where(there, said - labels.to(said.dtype).nan_to_num(), 0.0) / (self.scale or 1.0), there

    def mean(self, answers: Sequence[Float[Tensor, "..."]], weights: Sequence[float]) -> Float[Tensor, "..."]:
        """The mean of each step and quantile, and the logit of the event's mean probability."""
        found = mean_of_numbers(answers, weights)
        if self.has_event:
            found[..., -1] = binary_mean([self.event(answer) for answer in answers], weights)
        return found

    def label_loss(
        self, outputs: Float[Tensor, "*rows outputs"], labels: Float[Tensor, "*rows horizon"]
    ) -> Float[Tensor, "*rows"]:
        """The mean squared error of the known readings in units of the scale, and the event's weighted cross-entropy.

        With quantiles, in place of the squared error, twice the mean pinball loss, which for the median is the absolute
        error (Koenker and Bassett, 1978, https://doi.org/10.2307/1913643; read: memory).
        """
        errors, there = self.errors(outputs, labels)
        loss = errors.square()
        if self.quantiles:
            loss = 2 * pinball(wide(self.quantile_values(outputs)), labels, self.quantiles) / (self.scale or 1.0)
        mean = torch.where(there, loss, 0.0).sum(dim=-1) / there.sum(dim=-1).clamp(min=1)
        if not self.has_event:
            return mean
        happens, certain = self.event_labels(labels)
        logit = wide(self.event(outputs))
        cost = functional.binary_cross_entropy_with_logits(logit, happens.to(logit.dtype), reduction="none")
        crossed = torch.where(happens > 0, self.positive, 1.0) * cost
        return mean + self.event_weight * torch.where(certain, crossed, 0.0)

    def metrics(
        self,
        outputs: Float[Tensor, "rows outputs"],
        labels: Float[Tensor, "rows horizon"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str] = (),
    ) -> dict[str, float]:
        """Errors and the event's metrics over the rows of which a reading is known; see the class.

        Raises:
            DataError: When none is known.
            ModelError: When an output is not finite.
        """
        said, truth = counted(outputs, labels, known, expected="finite readings")
        errors = self.values(said) - truth.double()
        values = {
            "rmse": root_mean_square(errors[:, -1]),
            "mae": mean_absolute(errors[:, -1]),
            "rmse_mean": root_mean_square(errors),
        }
        if self.quantiles:
            there, steps = torch.isfinite(truth), self.quantile_values(said)
            inside = (truth >= steps[..., 0]) & (truth <= steps[..., -1])
            values["coverage"] = float(inside[there].double().mean())
            values["pinball"] = float(pinball(steps, truth, self.quantiles)[there].mean())
        if self.has_event:
            happens, certain = self.event_labels(truth)
            values |= event_metrics(self.event(said)[certain], happens[certain])
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def baseline(self, inputs: Shaped[Tensor, "rows channels steps"]) -> Float[Tensor, "rows outputs"]:
        """What needs no learning: the last reading said again for every step (persistence).

        The event is then likely where that reading is beyond the threshold already: its logit is the distance from the
        threshold in tenths of the scale, which ranks rows and is fitted to nothing.
        """
        last = inputs[:, self.channel, -1].float()
        numbers = last[:, None].expand(-1, self.horizon * max(1, len(self.quantiles)))
        if not self.has_event:
            return numbers
        return torch.cat([numbers, 10 * self._beyond(last)[:, None] / (self.scale or 1.0)], dim=1)

    def likeness(
        self, outputs: Float[Tensor, "rows outputs"], teacher: Float[Tensor, "rows outputs"]
    ) -> dict[str, float]:
        """Root mean square distance from the teacher's forecast, and KL(teacher || student) of the event in nats."""
        student, taught = outputs.detach().cpu().double(), teacher.detach().cpu().double()
        values = {"rmse_to_teacher": root_mean_square((self.values(student) - self.values(taught))[:, -1])}
        if self.has_event:
            values["event_kl"] = float(binary_kl(self.event(taught), self.event(student)).mean())
        return values

    def decode(self, outputs: Float[Tensor, "rows outputs"], classes: Sequence[str]) -> list[Mapping[str, object]]:
        """For each row the forecast by step (the median), the other quantiles, and the event's probability."""
        said = outputs.detach().float().cpu()
        steps, points = self.quantile_values(said), self.values(said).tolist()
        chances = torch.sigmoid(self.event(said)).tolist() if self.has_event else []
        answers: list[Mapping[str, object]] = []
        for row, point in enumerate(points):
            answer: dict[str, object] = {"forecast": dict(zip(classes, point, strict=True))}
            for place, level in enumerate(self.quantiles):
                if level != 0.5:
                    answer[f"quantile {level:g}"] = dict(zip(classes, steps[row, :, place].tolist(), strict=True))
            if chances:
                answer |= {"event": self.event_name, "probability": chances[row]}
            answers.append(answer)
        return answers

    def reading(self, classes: Sequence[str]) -> Mapping[str, object]:
        """Each step's quantiles in the labels' unit, and the logit of the event."""
        event = self.event_name if self.has_event else ""
        return {"kind": "forecast", "names": list(classes), "quantiles": list(self.quantiles), "event": event}

    def panels(
        self,
        outputs: Float[Tensor, "rows outputs"],
        labels: Float[Tensor, "rows horizon"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str],
    ) -> list[Panel]:
        """The error by step; of the event precision by recall and reliability.

        Raises:
            DataError: When no reading is known.
            ModelError: When an output is not finite.
        """
        said, truth = counted(outputs, labels, known, expected="finite readings")
        panels = [error_by_step(self.values(said) - truth.double())]
        if self.has_event:
            happens, certain = self.event_labels(truth)
            panels += event_panels(self.event(said)[certain], happens[certain], self.event_name)
        return panels

    def teacher_saw(
        self,
        inputs: Shaped[Tensor, "rows channels steps"],
        teacher: Float[Tensor, "rows outputs"],
        labels: Float[Tensor, "rows horizon"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str],
        temperature: float,
    ) -> Panel:
        """Eight rows with what came and what the teacher forecast: half it doubted most, half it was surest of.

        Doubt is the nearness of the event's probability to one half; without an event the width of the quantiles; and
        without them nobody knows, so that the rows are spread evenly. Of long rows the last 96 readings are shown.
        """
        said = teacher.detach().cpu().double()
        window = inputs[:, self.channel, -_SHOWN_READINGS:].detach().cpu().double()
        rows = []
        for row in telling(len(said), self._doubt(said)):
            steps = self.quantile_values(said[row])
            truth = torch.where(known[row], labels[row].double().cpu(), math.nan)
            rows.append(
                {
                    "window": shortened(window[row]),
                    "truth": [value if math.isfinite(value) else None for value in shortened(truth)],
                    "forecast": shortened(self.values(said[row])),
                    "low": shortened(steps[:, 0]) if self.quantiles else None,
                    "high": shortened(steps[:, -1]) if self.quantiles else None,
                    "probability": float(torch.sigmoid(self.event(said[row]))) if self.has_event else None,
                }
            )
        data: dict[str, object] = {"rows": rows, "event": self.event_name if self.has_event else ""}
        data["threshold"] = self.below if self.below is not None else self.above
        data["interval"] = [self.quantiles[0], self.quantiles[-1]] if self.quantiles else None
        return Panel("teacher_saw", "What the teacher saw", "lines", data)

    def _doubt(self, said: Float[Tensor, "rows outputs"]) -> Float[Tensor, " rows"] | None:
        if self.has_event:
            return -(torch.sigmoid(self.event(said)) - 0.5).abs()
        steps = self.quantile_values(said)
        return (steps[..., -1] - steps[..., 0]).mean(dim=1) if self.quantiles else None
