"""The thresholds of an artifact as a C header: a rule for `alerts.c`, and what is watched of an answer."""

import math
from typing import Any

import numpy as np

from limbeck.firmware.meaning import literal
from limbeck_runtime.alerts import Rule, milliseconds, rule
from limbeck_runtime.manifest import Manifest
from limbeck_runtime.scores import places


def facts(manifest: Manifest) -> dict[str, Any]:
    """What the template of the rule's header is filled with; empty where the artifact has no thresholds.

    Raises:
        ArtifactError: When its rule cannot be kept.
    """
    if manifest.alerts is None:
        return {}
    found = rule(manifest)
    best, others = _watched(found, manifest)
    return {
        "rising": int(found.direction == "above"),
        "enter": literal(np.float32(found.enter)),
        "leave": literal(np.float32(found.leave)),
        "enter_said": f"enter: {found.watch.spelled(found.enter)}",
        "leave_said": f"leave: {found.watch.spelled(found.leave)}",
        "needed": found.needed,
        "of": found.of,
        "calm": found.calm,
        "hold": milliseconds(found.hold_seconds),
        "refractory": milliseconds(found.refractory_seconds),
        "stale": milliseconds(found.stale_seconds),
        "budget": found.budget,
        "watched": f"{found.watch.kind} {', '.join(found.watch.names)}".strip().replace("*/", "* /"),
        "best": best,
        "others": others,
    }


def _watched(found: Rule, manifest: Manifest) -> tuple[list[str], list[str]]:
    """The numbers of which the greatest is the score, and those of which the greatest is taken from it."""
    watch, shape = found.watch, manifest.output.shape
    which = places(watch, manifest)
    if watch.kind == "reading":
        steps = manifest.input.shape[-1]
        return [f"row[{which[0] * steps + steps - 1}]"], []
    # Of answers for each step the last one is watched.
    first = math.prod(shape) - shape[-1]
    best = [f"answer[{first + place}]" for place in which]
    if watch.kind != "classes" or manifest.output.reading["kind"] == "classes":
        return best, []
    return best, [f"answer[{first + place}]" for place in range(shape[-1]) if place not in which]
