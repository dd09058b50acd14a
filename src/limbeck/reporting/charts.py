"""Charts as inline SVG: text stays text, colours are the page's CSS variables, the same data gives the same bytes."""

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from limbeck.reporting.history import Band, Gradients, LossTerms
from limbeck.reporting.units import Unit

# Colours that stand for a CSS variable until the SVG is written; no chart uses them as themselves.
_STANDINS = {
    "teacher": "#a10001",
    "student": "#a10002",
    "control": "#a10003",
    "ink": "#a10004",
    "muted": "#a10005",
    "rule": "#a10006",
    "surface": "#a10007",
    **{f"term-{k}": f"#a1001{k}" for k in range(6)},
}
_INK, _MUTED, _RULE, _SURFACE = (_STANDINS[name] for name in ("ink", "muted", "rule", "surface"))
# The line styles say the same as the colours, for print in grey and for eyes that mix the colours up.
LINES = {"teacher": (0, (1, 1.5)), "student": "solid", "control": (0, (5, 2))}
_MARKS = {"teacher": "s", "student": "o", "control": "D"}
TERMS = 6


@dataclass(frozen=True)
class Strip:
    """One line of a strip chart: a model's score for each seed."""

    who: str
    label: str
    values: tuple[float, ...]


def strip_chart(strips: Sequence[Strip], unit: Unit, *, alt: str, name: str, teacher: float | None = None) -> Markup:
    """Every seed as a mark on one axis, one line for each model, with the teacher as a vertical line."""
    with _style():
        figure, axes = _figure(4.5, 0.62 + 0.3 * len(strips))
        scale = 100.0 if unit.style == "share" else 1.0
        for place, strip in enumerate(strips):
            values = [scale * value for value in strip.values]
            colour = _STANDINS[strip.who]
            axes.plot(
                values, [place] * len(values), _MARKS[strip.who], color=colour, markersize=6.5, alpha=0.75,
                markeredgecolor=_SURFACE, markeredgewidth=0.7, clip_on=False,
            )  # fmt: skip
            if len(values) > 1:
                axes.plot([np.mean(values)] * 2, [place - 0.32, place + 0.32], color=colour, linewidth=2)
        if teacher is not None:
            axes.axvline(scale * teacher, color=_STANDINS["teacher"], linestyle=LINES["teacher"], linewidth=1.6)
        axes.set_yticks(range(len(strips)), [strip.label for strip in strips])
        axes.set_ylim(len(strips) - 0.45, -0.55)
        axes.tick_params(axis="y", length=0, labelcolor=_INK, labelsize=9)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=_RULE, linewidth=0.6)
        axes.margins(x=0.08)
        axes.set_xlabel(_labelled(unit))
        return _svg(figure, alt=alt, name=name)


def validation_chart(curves: Mapping[str, Band], unit: Unit, x_label: str, *, alt: str, name: str) -> Markup:
    """The selection metric on validation data: mean over seeds, and a band from the lowest to the highest seed."""
    with _style():
        figure, axes = _figure(4.5, 3.0)
        scale = 100.0 if unit.style == "share" else 1.0
        for who in ("control", "student"):
            if who not in curves:
                continue
            band = curves[who]
            low, high, mean = (scale * np.array(v) for v in (band.low, band.high, band.mean))
            if band.seeds > 1:
                axes.fill_between(band.x, low, high, color=_STANDINS[who], alpha=0.18, linewidth=0)
            mark = _MARKS[who] if len(band.x) == 1 else ""
            axes.plot(band.x, mean, color=_STANDINS[who], linestyle=LINES[who], linewidth=1.8, marker=mark)
        if unit.style == "share":
            lows = [scale * value for band in curves.values() for value in band.low]
            _focus(axes, lows, [scale * value for band in curves.values() for value in band.high])
        _by_time(axes, x_label)
        axes.set_ylabel(f"validation {_labelled(unit)[:1].lower()}{_labelled(unit)[1:]}")
        axes.grid(axis="y", color=_RULE, linewidth=0.6)
        axes.margins(x=0.01)
        return _svg(figure, alt=alt, name=name)


def loss_chart(loss: LossTerms, x_label: str, *, alt: str, name: str) -> Markup:
    """The training loss, stacked from its terms' parts where they are known."""
    with _style():
        figure, axes = _figure(4.5, 3.0)
        if loss.parts:
            colours = [_STANDINS[f"term-{k % TERMS}"] for k in range(len(loss.parts))]
            axes.stackplot(loss.x, *loss.parts.values(), colors=colours, alpha=0.55, linewidth=0)
        axes.plot(loss.x, loss.total, color=_INK, linewidth=1.3)
        # The first steps are often many times the rest and would flatten it.
        top = max(float(np.quantile(loss.total, 0.98)), 1.6 * float(np.median(loss.total)))
        axes.set_ylim(min(0.0, min(loss.total)), min(1.05 * max(loss.total), 1.2 * top) or 1.0)
        _by_time(axes, x_label)
        axes.set_ylabel("training loss")
        axes.grid(axis="y", color=_RULE, linewidth=0.6)
        axes.margins(x=0.01)
        return _svg(figure, alt=alt, name=name)


def gradient_chart(gradients: Gradients, x_label: str, *, alt: str, name: str) -> Markup:
    """Each term's part in the gradient, as a stack that is 100 % high, with a mark where it was measured."""
    with _style():
        figure, axes = _figure(4.5, 3.0)
        parts = [100 * np.array(share) for share in gradients.shares.values()]
        colours = [_STANDINS[f"term-{k % TERMS}"] for k in range(len(parts))]
        axes.stackplot(gradients.x, *parts, colors=colours, alpha=0.55, linewidth=0)
        for edge in np.cumsum(parts, axis=0)[:-1]:
            axes.plot(gradients.x, edge, color=_INK, linewidth=0.9, marker="o", markersize=2.5)
        axes.set_ylim(0, 100)
        _by_time(axes, x_label)
        axes.set_ylabel("share of the gradient (%)")
        axes.grid(axis="y", color=_RULE, linewidth=0.6)
        axes.margins(x=0.01)
        return _svg(figure, alt=alt, name=name)


def curve_chart(curves: Mapping[str, Mapping[str, Any]], *, alt: str, name: str) -> Markup:
    """A `curve` panel of one or more models in one square; marks grow with `counts` where the panel has them."""
    with _style():
        figure, axes = _figure(4.5, 3.8)
        first = next(iter(curves.values()))
        if first.get("diagonal"):
            low, high = first.get("range") or (0, 1)
            axes.plot([low, high], [low, high], color=_MUTED, linewidth=0.9, linestyle=(0, (2, 3)))
            axes.set(xlim=(low, high), ylim=(low, high))
        for who, data in curves.items():
            points = [
                (x, y, n)
                for x, y, n in zip(data["x"], data["y"], data.get("counts") or [None] * len(data["x"]), strict=False)
                if x is not None and y is not None and np.isfinite(x) and np.isfinite(y) and n != 0
            ]
            if not points:
                continue
            x, y, counts = zip(*points, strict=True)
            axes.plot(x, y, color=_STANDINS[who], linestyle=LINES[who], linewidth=1.6)
            if counts[0] is not None:
                most = max(counts)
                sizes = [6 + 60 * (n / most) ** 0.5 for n in counts]
                axes.scatter(
                    x, y, s=sizes, color=_STANDINS[who], marker=_MARKS[who], alpha=0.8,
                    edgecolors=_SURFACE, linewidths=0.7, clip_on=False, zorder=3,
                )  # fmt: skip
        axes.set_xlabel(str(first.get("x_label", "")))
        axes.set_ylabel(str(first.get("y_label", "")))
        axes.grid(color=_RULE, linewidth=0.6)
        return _svg(figure, alt=alt, name=name)


def lines_chart(row: Mapping[str, Any], threshold: float | None, *, alt: str, name: str) -> Markup:
    """One row of a `lines` panel: the readings before, what came after, what the teacher forecast, the threshold."""
    with _style():
        figure, axes = _figure(3.4, 2.1)
        window = row["window"]
        ahead = range(1, len(row["forecast"]) + 1)
        if threshold is not None:
            axes.axhline(threshold, color=_MUTED, linewidth=0.9, linestyle=(0, (2, 3)))
        axes.plot(range(1 - len(window), 1), window, color=_INK, linewidth=1.4)
        axes.axvline(0, color=_RULE, linewidth=0.8)
        truth = [math.nan if value is None else value for value in row["truth"]]
        axes.plot(ahead, truth, color=_INK, linewidth=0.9, marker=".", markersize=4)
        teacher = _STANDINS["teacher"]
        if row.get("low") and row.get("high"):
            axes.fill_between(ahead, row["low"], row["high"], color=teacher, alpha=0.18, linewidth=0)
        axes.plot(ahead, row["forecast"], color=teacher, linewidth=1.8, linestyle=LINES["teacher"])
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("steps from the last reading")
        axes.margins(x=0.01)
        return _svg(figure, alt=alt, name=name)


def matrix_chart(values: Sequence[Sequence[float]], *, alt: str, name: str) -> Markup:
    """A `matrix` panel too large for numbers: each row's shares as depth of colour."""
    shares = np.array(values, dtype=float)
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    # A pixel image cannot hold CSS variables: one blue that reads on light and on dark, and opacity for the share.
    pixels = np.empty((*shares.shape, 4))
    pixels[..., :3] = matplotlib.colors.to_rgb("#2f86d6")
    pixels[..., 3] = np.sqrt(np.clip(shares, 0, 1))
    with _style():
        figure, axes = _figure(4.5, 4.4)
        axes.imshow(pixels, interpolation="nearest", aspect="equal")
        axes.set_xlabel("answer (class number)")
        axes.set_ylabel("truth (class number)")
        for spine in axes.spines.values():
            spine.set_visible(True)
        return _svg(figure, alt=alt, name=name)


def _labelled(unit: Unit) -> str:
    suffix = {"share": "%", "nats": "nats", "milliseconds": "ms"}.get(unit.style)
    return f"{unit.label} ({suffix})" if suffix else unit.label


def _by_time(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    first, last = axes.get_xlim()
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=last - first > 4, steps=[1, 2, 5, 10]))


def _focus(axes: Axes, lows: Sequence[float], highs: Sequence[float]) -> None:
    # Early training lies far below what decides: show from a little under the usual lowest seed to the very top.
    if len(lows) >= 8:
        usual, top = float(np.median(lows)), max(highs)
        bottom = max(min(lows), usual - 2 * (top - usual + 0.5))
        if top > bottom:  # a curve that never moves has no range to focus on
            axes.set_ylim(bottom - 0.05 * (top - bottom), top + 0.08 * (top - bottom))


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


@contextmanager
def _style() -> Iterator[None]:
    # The default first: a person's own matplotlibrc must not change a report. Restored on leaving.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "limbeck",
                "text.parse_math": False,
                "font.family": "sans-serif",
                "font.size": 9,
                "axes.edgecolor": _MUTED,
                "axes.labelcolor": _INK,
                "axes.linewidth": 0.7,
                "axes.axisbelow": True,
                "xtick.color": _MUTED,
                "ytick.color": _MUTED,
                "xtick.labelsize": 8.5,
                "ytick.labelsize": 8.5,
                "text.color": _INK,
            }
        )
        yield


def _svg(figure: Figure, *, alt: str, name: str) -> Markup:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    # Several charts share one page, where an id may occur once.
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for role, colour in _STANDINS.items():
        text = text.replace(colour, f"var(--{role})")
    opening = re.search(r'viewBox="[^"]+"', text)
    assert opening is not None
    body = text[text.index(">") + 1 :]
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" class="chart" '
        f'{opening.group()} role="img" aria-label="{escape(alt, quote=True)}">{body}'
    )
