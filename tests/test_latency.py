"""How often models are called to be timed: as often as asked where they are quick, less often where they are slow."""

import itertools

import pytest

from limbeck.measures import latency


class Clock:
    """A clock that moves by what an answer takes, and not otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def answer(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(latency.time, "perf_counter", made)
    return made


def test_quick_answers_are_timed_as_often_as_asked_in_turns(clock: Clock) -> None:
    order: list[str] = []

    def one() -> None:
        order.append("one")
        clock.answer(0.001)

    def other() -> None:
        order.append("other")
        clock.answer(0.002)

    found = latency.interleaved({"one": one, "other": other}, rounds=4, calls=3, warm_up=5)
    assert found["one"] == pytest.approx({"latency_ms": 1.0, "latency_p95_ms": 1.0})
    assert found["other"] == pytest.approx({"latency_ms": 2.0, "latency_p95_ms": 2.0})
    warm, timed = order[:10], order[10:]
    assert warm == ["one"] * 5 + ["other"] * 5
    # Round by round the first is another, so that two rounds meet in six calls of one.
    assert [(name, len(list(calls))) for name, calls in itertools.groupby(timed)] == [
        ("one", 3),
        ("other", 6),
        ("one", 6),
        ("other", 6),
        ("one", 3),
    ]


def test_slow_answers_are_called_less_often_but_thrice(clock: Clock) -> None:
    calls: list[float] = []
    said = {"slow": lambda: (calls.append(clock.now), clock.answer(2.0))}
    assert latency.interleaved(said, seconds=30)["slow"]["latency_ms"] == 2000
    assert len(calls) == 2 + 15 and clock.now <= 36
    calls.clear()
    latency.interleaved({"slower": lambda: (calls.append(clock.now), clock.answer(60.0))}, seconds=30)
    assert len(calls) == 2 + latency.LEAST
