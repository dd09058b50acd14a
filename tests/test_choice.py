"""Which graph is shipped: gates, the Pareto set, and that the choice follows from the measurements alone."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from limbeck.artifact.candidates import FLOAT32
from limbeck.artifact.choice import Allowances, Measured, chosen, described, pareto
from limbeck.errors import ModelError

ALLOWED = Allowances()
WHOLE = Measured(FLOAT32, 1000, 0.9, 0.0, {"agreement": 1.0}, {}, 1.0, 1.0)


def candidate(recipe: str, size: int = 300, slower: float = 1.0, **changes: Any) -> Measured:
    words: dict[str, Any] = {"metric": 0.9, "lost": 0.0, "likeness": {"agreement": 0.99}, "distances": {}, **changes}
    return Measured(recipe, size, latency_ms=slower, slower=slower, **words)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lost": 0.0051}, "loses 0.0051 of the metric"),
        ({"likeness": {"agreement": 0.979}}, "agrees on 0.9790"),
        ({"likeness": {"rmse_to_teacher": 3.0}, "distances": {"rmse_to_teacher": 0.051}}, "rmse_to_teacher is 0.051"),
        ({"failed": "no kernel"}, "no kernel"),
        ({"slower": 1.06}, "takes 1.06 of float32's time"),
    ],
)
def test_each_gate_refuses_by_itself(changes: dict[str, Any], said: str) -> None:
    bad = candidate("bad", **changes)
    assert said in bad.verdict(ALLOWED)
    taken, why = chosen([WHOLE, bad], "auto", ALLOWED)
    assert taken is WHOLE and why.startswith("float32 stays")


@pytest.mark.parametrize(
    "changes",
    [
        {"lost": 0.005},
        {"lost": -0.1},
        {"likeness": {"agreement": 0.98}},
        {"likeness": {"rmse_to_teacher": 3.0}, "distances": {"rmse_to_teacher": 0.05}},
        {"slower": 1.05},
    ],
)
def test_what_is_just_allowed_passes(changes: dict[str, Any]) -> None:
    good = candidate("good", **changes)
    assert good.verdict(ALLOWED) == "passes"
    assert chosen([WHOLE, good], "auto", ALLOWED)[0] is good


def test_auto_takes_the_smallest_that_passes() -> None:
    small_but_wrong, small_but_slow = candidate("a", 100, lost=0.1), candidate("b", 150, 2.0)
    right, larger = candidate("c", 200, 1.04), candidate("d", 250, 0.5)
    taken, why = chosen([WHOLE, larger, small_but_slow, right, small_but_wrong], "auto", ALLOWED)
    assert taken is right and "the smallest of 2 that pass, 0.20 of float32's bytes in 1.04 of its time" in why


def test_auto_keeps_float32_where_int8_is_larger() -> None:
    taken, why = chosen([WHOLE, candidate("a", 1001, 0.9)], "auto", ALLOWED)
    assert taken is WHOLE and "smaller" in why


def test_int8_that_is_slower_is_chosen_and_said() -> None:
    slow, slower = candidate("slow", 200, 1.5), candidate("slower", 100, 12.0)
    taken, why = chosen([WHOLE, slower, slow], "int8", ALLOWED)
    assert taken is slow and "int8 is slower here" in why and "1.50 of its time" in why
    assert chosen([WHOLE, slower, slow], "auto", ALLOWED)[0] is WHOLE
    assert chosen([WHOLE, slower, slow, candidate("fast", 300)], "int8", ALLOWED)[0].recipe == "fast"


def test_int8_without_a_good_graph_names_the_closest() -> None:
    near = candidate("near", lost=0.006)
    far = candidate("far", lost=0.2, likeness={"agreement": 0.5})
    with pytest.raises(ModelError, match=r"the closest, near, loses 0\.006"):
        chosen([WHOLE, far, near, candidate("none", failed="no kernel")], "int8", ALLOWED)
    with pytest.raises(ModelError, match="no int8 recipe could be followed: none: no kernel"):
        chosen([WHOLE, Measured("none", 0, failed="no kernel")], "int8", ALLOWED)


def test_larger_allowances_let_more_pass() -> None:
    lossy = candidate("lossy", lost=0.02, slower=3.0, likeness={"agreement": 0.9})
    assert chosen([WHOLE, lossy], "auto", Allowances(metric=0.02, agreement=0.9, latency=3.0))[0] is lossy
    for words in ({"metric": -0.1}, {"agreement": 1.1}, {"distance": float("nan")}):
        with pytest.raises(ValidationError):
            Allowances(**words)  # type: ignore[arg-type]


MEASURED = st.lists(
    st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(1, 4), st.booleans()), min_size=1, max_size=12
)


def measured(values: list[tuple[int, int, int, bool]]) -> list[Measured]:
    found = [WHOLE]
    for place, (metric, size, time, failed) in enumerate(values):
        words = {"failed": "no kernel"} if failed else {"metric": 0.8 + metric / 20, "lost": 0.1 - metric / 20}
        found.append(candidate(f"r{place}", 100 * size, 0.5 * time, **words))
    return found


@given(MEASURED, st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_pareto_set_is_what_nothing_outdoes(values: list[tuple[int, int, int, bool]], higher: bool) -> None:
    everything = [each for each in measured(values) if not each.failed]
    front = pareto(measured(values), higher)

    def outdoes(one: Measured, other: Measured) -> bool:
        assert one.metric is not None and other.metric is not None
        assert one.latency_ms is not None and other.latency_ms is not None
        better = one.metric > other.metric if higher else one.metric < other.metric
        as_good = better or one.metric == other.metric
        as_good &= one.bytes <= other.bytes and one.latency_ms <= other.latency_ms
        return as_good and (better or one.bytes < other.bytes or one.latency_ms < other.latency_ms)

    for each in everything:
        assert (each.recipe in front) != any(outdoes(other, each) for other in everything)
    assert front and not any(each.failed and each.recipe in front for each in measured(values))


@given(MEASURED, st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_choice_follows_from_the_measurements_alone(
    values: list[tuple[int, int, int, bool]], luck: random.Random
) -> None:
    def outcome(given: list[Measured], precision: Any) -> str:
        try:
            taken, why = chosen(given, precision, ALLOWED)
            return f"{taken.recipe}: {why}"
        except ModelError as error:
            return error.happened

    first = measured(values)
    for precision in ("auto", "int8"):
        shuffled = luck.sample(first, len(first))
        assert outcome(first, precision) == outcome(shuffled, precision)


@given(MEASURED)
@settings(max_examples=50, deadline=None)
def test_auto_never_ships_what_a_gate_refuses(values: list[tuple[int, int, int, bool]]) -> None:
    taken, _ = chosen(measured(values), "auto", ALLOWED)
    assert taken.verdict(ALLOWED) == "passes"
    assert all(taken.bytes <= other.bytes for other in measured(values) if other.verdict(ALLOWED) == "passes")


def test_what_the_manifest_says_of_each() -> None:
    said = described(
        [WHOLE, candidate("a", 100, 2.0), candidate("b", 0, failed="no kernel", metric=None)], ALLOWED, True
    )
    assert [each["verdict"] for each in said] == ["passes", "takes 2.00 of float32's time", "no kernel"]
    assert [each["pareto"] for each in said] == [True, True, False]
    assert set(said[0]) == {"recipe", "bytes", "metric", "likeness", "latency_ms", "verdict", "pareto"}
