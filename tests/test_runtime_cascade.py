"""A reflex with a brain in a real process that is slow, dies, hangs or lies; small first, large when unsure."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import small_artifacts

from limbeck_runtime.cascade import Cascade
from limbeck_runtime.courier import Brain
from limbeck_runtime.errors import ArtifactError, BrainError, InputError
from limbeck_runtime.escalation import Escalation, confidences, graph_hash
from limbeck_runtime.pipes import READY, ROWS, Message, packed, receive, send
from limbeck_runtime.predictor import Predictor, load

ROWS_OF_8 = np.random.default_rng(5).standard_normal((40, 8)).astype(np.float32)
PATIENT = 60.0
"""Seconds to wait for another process at most, on a busy machine; a test takes far less."""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A small and a large artifact of one task: two graphs that often disagree."""
    found = []
    for seed, name in enumerate(("small", "large")):
        folder = tmp_path_factory.mktemp(name)
        found.append(small_artifacts.made(folder, name=name, graph=small_artifacts.linear(folder, seed=seed)))
    return found


def until(condition):
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < PATIENT
        time.sleep(0.005)


def script(folder, body):
    """A brain of a person's own, as a command; it says that it is ready."""
    path = folder / "brain.py"
    lead = """
        import os, sys, time
        import numpy as np
        from limbeck_runtime.pipes import OUTPUTS, READY, packed, receive, send
        rows, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
        send(answers, 0, READY)
    """
    path.write_text(textwrap.dedent(lead) + textwrap.dedent(body))
    return [sys.executable, str(path)]


def test_a_brain_says_in_its_process_what_the_artifact_says_here(two):
    small, large = map(load, two)
    with Cascade(small, Brain(two[1])) as both:
        first = both.ask(ROWS_OF_8[0], 100.0)
        assert first["class"] == small(ROWS_OF_8[0])[0]["class"]
        assert first["brain"] == {"state": "starting", "answer": None}
        assert both.brain.wait(1, PATIENT)
        later = both.ask(ROWS_OF_8[1], 100.5)["brain"]
        assert later["answer"] == large(ROWS_OF_8[:1])[0]
        assert (later["frame"], later["age_frames"], later["time"], later["age_seconds"]) == (1, 1, 100.0, 0.5)
        assert both.brain.wait(2, PATIENT)
        later = both.ask(ROWS_OF_8[2], 101.0)["brain"]
        assert later["answer"] == large(ROWS_OF_8[1:2])[0] and later["age_frames"] == 1
    assert both.ask(ROWS_OF_8[3], 102.0)["brain"]["state"] == "closed"


def test_a_slow_brain_is_never_waited_for_and_hears_of_the_newest_frame(two, tmp_path):
    body = """
        while (message := receive(rows)) is not None:
            while not os.path.exists(sys.argv[0] + ".go"):
                time.sleep(0.01)
            send(answers, message.frame, OUTPUTS, packed(np.float32([[message.frame, 0, 0]])))
    """
    command = script(tmp_path, body)
    with Cascade(load(two[0]), Brain(two[1], command=command), deadline=30.0) as both:
        until(lambda: both.brain.state == "ready")
        both.ask(ROWS_OF_8[0], 0.0)
        until(lambda: both.brain._slot is None)  # it thinks about frame 1, and will until it may go
        answers = [both.ask(row, float(at)) for at, row in enumerate(ROWS_OF_8[1:21], 1)]
        assert all(answer["brain"]["answer"] is None and not answer["late"] for answer in answers)
        assert both.brain.skipped == 19 and both.missed == 0
        (tmp_path / "brain.py.go").touch()
        assert both.brain.wait(21, PATIENT)
        said = both.ask(ROWS_OF_8[21], 21.0)["brain"]
        # After frame 1 it heard of frame 21; those between were never sent.
        assert (said["frame"], said["age_frames"], said["age_seconds"]) == (21, 1, 1.0)
        assert said["answer"]["probability"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_a_brain_that_hangs_is_ended_and_started_again(two):
    with Cascade(load(two[0]), Brain(two[1], patience=1.5, start=PATIENT, restarts=5)) as both:
        until(lambda: both.brain.state == "ready")
        os.kill(both.brain._process.pid, signal.SIGSTOP)
        assert both.ask(ROWS_OF_8[0], 0.0)["class"]
        until(lambda: "said nothing for 1.5 s" in both.brain.reason)
        until(lambda: both.brain.state == "ready")
        both.ask(ROWS_OF_8[1], 1.0)
        until(lambda: both.brain.thought is not None or both.brain.starts > 2)
        assert both.brain.starts >= 2


def test_a_brain_that_keeps_dying_is_started_a_bounded_number_of_times(two, tmp_path):
    command = script(tmp_path, "receive(rows)\nsys.exit(7)\n")
    with Cascade(load(two[0]), Brain(two[1], restarts=2, command=command)) as both:
        for at in range(3):
            until(lambda at=at: both.brain.state == "ready" and both.brain.starts == at + 1)
            assert both.ask(ROWS_OF_8[at], float(at))["class"]
            until(lambda at=at: both.brain.starts > at + 1 or both.brain.state == "gone")
        answer = both.ask(ROWS_OF_8[3], 3.0)
        assert answer["class"] == load(two[0])(ROWS_OF_8[3])[0]["class"]
        assert answer["brain"] == {"state": "gone", "answer": None, "reason": "the brain ended with exit code 7"}
        assert both.brain.starts == 3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("answers.write(b'hello, this is not a message'); answers.flush()", "something else than a message"),
        ("m = receive(rows); send(answers, m.frame + 1, OUTPUTS, packed(np.zeros((1, 3), 'f4')))", "not asked"),
        ("m = receive(rows); send(answers, m.frame, OUTPUTS, packed(np.zeros((1, 4), 'f4')))", "gave float32 of shape"),
        ("m = receive(rows); send(answers, m.frame, OUTPUTS, b'nonsense')", "is no array|has not the numbers"),
        ("m = receive(rows); answers.write(b'LBK1'); answers.flush()", "exit code 0"),
    ],
)
def test_a_brain_that_talks_nonsense_is_no_brain(two, tmp_path, body, words):
    import re

    with Cascade(load(two[0]), Brain(two[1], restarts=0, command=script(tmp_path, body))) as both:
        until(lambda: both.brain.state != "starting")
        answer = both.ask(ROWS_OF_8[0], 0.0)
        until(lambda: both.brain.state == "gone")
        assert re.search(words, both.brain.reason), both.brain.reason
        assert answer["class"] and both.ask(ROWS_OF_8[0], 1.0)["brain"]["answer"] is None


def test_a_brain_of_a_damaged_file_is_refused_here_and_one_that_vanishes_is_gone(two, tmp_path):
    with pytest.raises(ArtifactError, match="cannot be read"):
        Brain(tmp_path / "none.limbeck")
    ended = subprocess.run(
        [sys.executable, "-m", "limbeck_runtime.brain", "none.limbeck"], capture_output=True, input=b"", check=False
    )
    assert ended.returncode == 1 and b"cannot be read" in ended.stderr and ended.stdout == b""


def test_a_brain_ends_when_nobody_asks_any_more_and_loads_no_socket(two):
    code = (
        "import sys; sys.argv = ['brain', sys.argv[1]]; import limbeck_runtime.brain as b, limbeck_runtime.cascade; "
        "c = b.main(sys.argv[1:]); sys.exit(c or len({'socket', 'torch', 'limbeck', 'asyncio'} & set(sys.modules)))"
    )
    asked = packed(ROWS_OF_8[:2])
    import io

    spoken = io.BytesIO()
    send(spoken, 9, ROWS, asked)
    send(spoken, 10, ROWS, packed(ROWS_OF_8[:2, :3].copy()))
    ended = subprocess.run(
        [sys.executable, "-c", code, str(two[1])], input=spoken.getvalue(), capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    heard = io.BytesIO(ended.stdout)
    assert receive(heard).kind == READY
    answer = receive(heard)
    assert answer.frame == 9 and np.array_equal(answer.array, load(two[1]).outputs(ROWS_OF_8[:2]))
    assert "rows of shape (2, 3)" in receive(heard).content.decode() and receive(heard) is None


def test_messages_are_not_believed():
    import io

    for array in (np.zeros((2, 0, 3), np.float32), np.arange(6, dtype=np.int16).reshape(2, 3), np.float64(3.0)):
        found = Message(0, ROWS, packed(np.asarray(array))).array
        assert found.dtype == np.asarray(array).dtype and np.array_equal(found, array)
    for content in (b"", b"\x63\x01", b"\x05\xff", packed(np.zeros(3, np.float32))[:-1]):
        with pytest.raises(BrainError):
            _ = Message(0, ROWS, content).array
    with pytest.raises(BrainError, match="something else"):
        receive(io.BytesIO(b"LBK1\xff\xff\xff\xff" + bytes(20)))


def test_a_rule_overrides_with_its_reason_and_acts_where_the_reflex_cannot(two):
    def brake(row, answer):
        if not np.isfinite(row).all():
            return "the sensor says nothing", {"class": "c"}
        return ("too near", {"class": "b"}) if row[0] > 1 else None

    both = Cascade(load(two[0]), rule=brake)
    calm, near = np.zeros(8, np.float32), np.zeros(8, np.float32)
    near[0] = 2
    assert both.ask(calm, 0.0)["rule"] is None
    acted = both.ask(near, 1.0)
    assert acted["class"] == "b" and acted["rule"] == "too near" and "refused" not in acted
    alone = both.ask(np.full(8, np.nan, np.float32), 2.0)
    assert alone["class"] == "c" and alone["rule"] == "the sensor says nothing" and "NaN" in alone["refused"]
    assert both.acted == 2 and acted["brain"] == {"state": "absent", "answer": None, "reason": "there is none"}
    with pytest.raises(InputError, match="NaN"):
        Cascade(load(two[0])).ask(np.full(8, np.nan, np.float32), 0.0)


def test_an_answer_after_its_deadline_is_counted(two):
    def slow(row, answer):
        time.sleep(0.05 if row[0] else 0)

    both = Cascade(load(two[0]), rule=slow, deadline=0.04)
    both.ask(np.zeros(8, np.float32), 0.0)
    late = both.ask(np.ones(8, np.float32), 0.0)
    assert late["late"] and late["seconds"] >= 0.05 and both.missed >= 1
    with pytest.raises(InputError, match="deadline"):
        Cascade(load(two[0]), deadline=0.0)


def test_a_cascade_is_a_predictor(two):
    small, large = map(load, two)
    for found in (Cascade(small), Escalation(small, large, 0.5), Cascade(Escalation(small, large, 0.5))):
        assert isinstance(found, Predictor)
        assert found.outputs(ROWS_OF_8).shape == (40, 3) and len(found(ROWS_OF_8)) == 40
        assert found(ROWS_OF_8[0])[0]["class"] == found(ROWS_OF_8)[0]["class"]


def test_a_threshold_of_one_is_the_large_one_bit_for_bit_and_of_nought_the_small_one(two):
    small, large = map(load, two)
    sure = np.concatenate([ROWS_OF_8, 1e4 * ROWS_OF_8])  # probabilities that round to 1 in float64
    for threshold, one in ((1.0, large), (0.0, small)):
        both = Escalation(small, large, threshold)
        assert np.array_equal(both.outputs(sure), one.outputs(sure))
        assert both(sure) == one(sure)
        assert both.coverage == 1 - threshold


def test_between_them_each_row_is_answered_by_one(two):
    small, large = map(load, two)
    both = Escalation(small, large, 0.6)
    said, unsure = both.asked(ROWS_OF_8)
    sure = np.exp(small.outputs(ROWS_OF_8).astype(np.float64))
    assert np.array_equal(unsure, (sure / sure.sum(axis=1, keepdims=True)).max(axis=1) < 0.6)
    assert 5 < unsure.sum() < 35
    assert np.array_equal(said[~unsure], small.outputs(ROWS_OF_8)[~unsure])
    assert np.allclose(said[unsure], large.outputs(ROWS_OF_8)[unsure], atol=1e-6)
    assert both.coverage == pytest.approx(1 - unsure.mean())


def test_confidence_is_of_the_least_certain_decision(two):
    small = load(two[0])
    said = np.float32([[0, 0, 0], [800, 0, 0]])
    assert confidences(small.manifest, said) == pytest.approx([1 / 3, 1])
    assert confidences(small.manifest, said)[1] < 1


def test_artifacts_that_do_not_fit_are_refused(two, tmp_path):
    small, large = map(load, two)
    with pytest.raises(ArtifactError, match="never tuned"):
        Escalation(small, large)
    with pytest.raises(ArtifactError, match="threshold of 2"):
        Escalation(small, large, 2.0)
    other = load(small_artifacts.made(tmp_path, name="other", reading={"kind": "class", "names": ["a", "b", "d"]}))
    with pytest.raises(ArtifactError, match="other has answers"):
        Escalation(small, other, 0.5)
    numbers = load(
        small_artifacts.made(tmp_path, name="numbers", reading={"kind": "numbers", "names": ["a", "b", "d"]})
    )
    with pytest.raises(ArtifactError, match="do not say how sure"):
        Escalation(numbers, numbers, 0.5)
    said = {"threshold": 0.7, "name": "large", "graph": graph_hash(large.manifest)}
    tuned = load(small_artifacts.made(tmp_path, escalation=said))
    assert Escalation(tuned, large).threshold == 0.7
    with pytest.raises(ArtifactError, match="has another graph"):
        Escalation(tuned, tuned)
    with pytest.raises(ArtifactError, match=r"escalation.threshold is 1.5"):
        Escalation(load(small_artifacts.made(tmp_path, escalation=said | {"threshold": 1.5})), large)
