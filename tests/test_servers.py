"""Asking a server over HTTP: what is repeated, what is refused, and what is kept so that nothing is asked twice."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_languages import tokenizer
from small_server import Speaker, answer, dropped, late, serving
from small_speakers import causal

from limbeck.catalog.writers import writer
from limbeck.errors import LimbeckError, StorageError, TeacherError, TeacherStopped
from limbeck.languages.generation import Sampling
from limbeck.servers.address import server
from limbeck.servers.client import Client, Request
from limbeck.servers.connection import Refused
from limbeck.servers.correspondence import Correspondence, Spent
from limbeck.servers.writer import ServerWriter

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    known = tokenizer()
    model = causal("llama", vocab_size=len(known), pad_token_id=0, bos_token_id=1, eos_token_id=0)
    with serving(Speaker(model, known)) as found:
        yield found


def client(speaker: Speaker, folder: Path, **said: Any) -> Client:
    brackets = ", ".join(f"{name}={value!r}" for name, value in {"timeout": 2, "retries": 2, **said}.items())
    return Client(server(f"openai:{speaker.url}#small({brackets})"), folder)


def questions(count: int, read: Any = lambda said: said["choices"][0]["text"]) -> list[Request]:
    return [
        Request("/completions", {"prompt": f"The cat {number}", "max_tokens": 2, "temperature": 0.0}, read)
        for number in range(count)
    ]


def test_several_are_under_way_at_a_time_and_none_is_asked_twice(speaker: Speaker, tmp_path: Path) -> None:
    def slowly(request: Any, number: int) -> bool:
        time.sleep(0.05)
        return False

    speaker.misbehaves = slowly
    asks = client(speaker, tmp_path, at_once=3)
    found = asks.ask([*questions(7), questions(1)[0]])
    assert found[7] == found[0] and len(speaker.asked) == 7 and speaker.most_at_once == 3
    assert asks.ask(questions(7)) == found[:7] and len(speaker.asked) == 7
    again = client(speaker, tmp_path, at_once=2)
    assert again.ask(questions(8)[1:]) == [*found[1:7], again.ask(questions(8))[7]] and len(speaker.asked) == 8
    counts = [len(tokenizer()(body["prompt"])["input_ids"]) for body in speaker.asked]
    assert again.ledger.spent == Spent(8, sum(counts), 16)
    assert again.ledger.new == Spent(1, counts[7], 2)
    assert again.ledger.spent.cost((2.0, 8.0)) == pytest.approx((2 * sum(counts) + 8 * 16) / 1e6)


@pytest.mark.parametrize("state", [429, 500])
def test_states_that_pass_are_repeated_as_the_server_asks(speaker: Speaker, tmp_path: Path, state: int) -> None:
    speaker.misbehaves = lambda request, number: (
        number < 1 and answer(request, state, {"error": "busy"}, Retry_After="1")
    )
    before = time.monotonic()
    assert len(client(speaker, tmp_path).ask(questions(1))) == 1
    assert len(speaker.asked) == 2 and 1 <= time.monotonic() - before < 3


@pytest.mark.parametrize("how", ["dropped", "late"])
def test_broken_and_late_answers_are_repeated(speaker: Speaker, tmp_path: Path, how: str) -> None:
    def once(request: Any, number: int) -> bool:
        return number == 0 and (dropped(request) if how == "dropped" else late(request, 1.0))

    speaker.misbehaves = once
    assert client(speaker, tmp_path, timeout=0.5).ask(questions(1))[0] and len(speaker.asked) == 2


def test_what_was_answered_before_it_failed_is_kept(speaker: Speaker, tmp_path: Path) -> None:
    speaker.misbehaves = lambda request, number: number >= 3 and answer(request, 500, {"error": "out of memory"})
    asks = client(speaker, tmp_path, at_once=1, retries=1)
    with pytest.raises(TeacherStopped, match=r"state 500 in all 2 attempts: .*out of memory.*\n.*\n.*is kept"):
        asks.ask(questions(6))
    assert len(speaker.asked) == 5
    speaker.misbehaves = lambda request, number: False
    client(speaker, tmp_path).ask(questions(6))
    prompts = [body["prompt"] for body in speaker.asked]
    assert len(prompts) == 8 and sorted(set(prompts)) == sorted({body.body["prompt"] for body in questions(6)})
    assert all(prompts.count(f"The cat {number}") == 1 for number in (0, 1, 2, 4, 5))


def test_a_longer_wait_than_ones_patience_stops_at_once(speaker: Speaker, tmp_path: Path) -> None:
    speaker.misbehaves = lambda request, number: answer(request, 429, {"error": "quota"}, Retry_After="3600")
    before = time.monotonic()
    with pytest.raises(TeacherStopped, match="asks to wait 3600 s"):
        client(speaker, tmp_path).ask(questions(1))
    assert len(speaker.asked) == 1 and time.monotonic() - before < 1


@pytest.mark.parametrize(
    ("state", "said", "kind", "words"),
    [
        (200, b'{"choices": [{"te', TeacherError, "what is no JSON"),
        (200, b"[1, 2]", TeacherError, "a JSON list"),
        (200, b"{}", TeacherError, "without a text"),
        (200, {"choices": [{"text": None}]}, TeacherError, "None in the place of a text"),
        (401, {"error": "who are you"}, TeacherError, "state 401"),
        (404, {"error": "no such model"}, TeacherError, "a server with the model small"),
        (302, b"", TeacherError, "sends requests on to http://elsewhere"),
    ],
)
def test_answers_that_are_none_are_said_and_not_repeated(
    speaker: Speaker, tmp_path: Path, state: int, said: Any, kind: type[Exception], words: str
) -> None:
    headers = {"Location": "http://elsewhere"} if state == 302 else {}
    speaker.misbehaves = lambda request, number: answer(request, state, said, **headers)
    with pytest.raises(kind, match=words):
        ServerWriter(client(speaker, tmp_path)).write(["The cat"], Sampling(length=2))
    assert len(speaker.asked) == 1


def test_one_request_that_is_refused_does_not_stop_the_others(speaker: Speaker, tmp_path: Path) -> None:
    def long(request: Any, number: int) -> bool:
        return "cat 1" in speaker.asked[number]["prompt"] and answer(request, 400, {"error": "context length"})

    speaker.misbehaves, asks = long, client(speaker, tmp_path, at_once=1)
    found = asks.ask(questions(3))
    assert [isinstance(each, Refused) for each in found] == [False, True, False]
    assert "context length" in str(found[1])
    with pytest.raises(TeacherError, match=r"prompt 1: .*context length"):
        ServerWriter(asks).write(["The cat 0", "The cat 1"], Sampling(length=2))


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    asks = Client(server("openai:http://127.0.0.1:9/v1#small(retries=0)"), tmp_path)
    with pytest.raises(TeacherStopped, match=r"could not be asked.*\n.*1 attempts\n.*is the server running"):
        asks.ask(questions(1))


def test_the_key_is_sent_and_never_written(speaker: Speaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TeacherError, match="MY_KEY is not set"):
        client(speaker, tmp_path, key="MY_KEY")
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    client(speaker, tmp_path, key="MY_KEY").ask(questions(1))
    assert speaker.headers[0]["Authorization"] == "Bearer sk-very-secret"
    speaker.misbehaves = lambda request, number: answer(request, 401, {"error": "wrong key sk-very-secret"})
    with pytest.raises(TeacherError, match=r"wrong key \[key\]"):
        client(speaker, tmp_path, key="MY_KEY").ask(questions(2))
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_a_torn_line_is_asked_again_and_harms_no_other(tmp_path: Path) -> None:
    book = Correspondence(tmp_path / "deep" / "book.jsonl")
    for number in range(3):
        book.enter(f"key{number}", USAGE, {"text": "ü" * number})
    book.refuse("key3", USAGE, "other tokens")
    content = book.path.read_bytes()
    for cut in range(len(content) + 1):
        book.path.write_bytes(content[:cut])
        found = Correspondence(book.path)
        whole = content[:cut].count(b"\n")
        # A line that lacks nothing but its end is whole.
        whole += content[cut : cut + 1] == b"\n"
        assert [f"key{number}" in found for number in range(4)] == [number < min(whole, 3) for number in range(4)]
        assert found.spent.requests == whole
        found.enter("new", None, 1)
        after = Correspondence(book.path)
        assert after.answer("new") == 1 and after.spent.uncounted == 1
        for number in range(min(whole, 3)):
            assert after.answer(f"key{number}") == {"text": "ü" * number}


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    (tmp_path / "book").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        Correspondence(tmp_path / "book" / "inside").enter("key", None, 1)


KILLED = """
import sys
from pathlib import Path
from limbeck.servers.address import server
from limbeck.servers.client import Client, Request
read = lambda said: said["choices"][0]["text"]
asks = [Request("/completions", {"prompt": f"The cat {n}", "max_tokens": 3, "seed": n}, read) for n in range(60)]
print(Client(server(sys.argv[1]), Path(".")).ask(asks))
"""


def test_killed_at_any_instant_it_asks_for_nothing_it_was_answered(speaker: Speaker, tmp_path: Path) -> None:
    ledger = tmp_path / "book.jsonl"

    def slowly(request: Any, number: int) -> bool:
        time.sleep(0.02)
        return False

    speaker.misbehaves = slowly
    asked = [sys.executable, "-c", KILLED, f"openai:{speaker.url}#small(ledger={str(ledger)!r}, at_once=2)"]
    for wanted in (7, 25):
        process = subprocess.Popen(asked)
        while len(speaker.asked) < wanted and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = len(Correspondence(ledger)._places)
    assert 10 < killed < 60
    time.sleep(0.2)
    before = len(speaker.asked)
    assert before <= killed + 2 * 2  # what was under way at each kill
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert len(speaker.asked) - before == 60 - killed
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == said
    assert len(speaker.asked) - before == 60 - killed


def test_a_server_writes_as_a_writer_does(speaker: Speaker, tmp_path: Path) -> None:
    speaks = ServerWriter(client(speaker, tmp_path))
    messages = [{"role": "user", "content": "What is two?"}]
    how = Sampling(length=4, temperature=1.0, nucleus=0.9, seed=3)
    found = speaks.write(["The cat", messages], how, samples=3)
    assert len({text.text for texts in found for text in texts}) > 3 and len(speaker.asked) == 6
    assert speaks.write([messages], how, samples=2) == [found[1][:2]] and len(speaker.asked) == 6
    seeds = [body["seed"] for body in speaker.asked if "messages" in body]
    assert len(set(seeds)) == 3 and all(0 <= seed < 2**31 for seed in seeds)
    assert {(body["temperature"], body["top_p"], body["max_tokens"]) for body in speaker.asked} == {(1.0, 0.9, 4)}
    greedy = speaks.write(["The cat"], Sampling(length=4), samples=3)[0]
    assert greedy == [greedy[0]] * 3 and len(speaker.asked) == 7
    assert greedy[0].tokens == 4 and not greedy[0].finished and greedy[0].asked == len(tokenizer()("The cat").input_ids)
    with pytest.raises(TeacherError, match="no end: tokens have numbers of their own"):
        speaks.write(["The cat"], Sampling(length=4, end=(1,)))


def test_a_text_names_a_server_or_says_why_not() -> None:
    found = server("openai:https://host:8000/v1/#org/name:v1.5(key='K', logprobs=5, prices=(0.5, 1))")
    assert (found.url, found.model, found.key, found.logprobs) == ("https://host:8000/v1", "org/name:v1.5", "K", 5)
    assert str(found) == "openai:https://host:8000/v1#org/name:v1.5"
    for text, words in {
        "openai:localhost/v1#m": "names no server",
        "openai:http://host/v1": "names no server",
        "openai:http://me:secret@host/v1#m": "holds a password",
        "openai:http://h/v1#m(logprobs=0)": "logprobs=0 of .* is out of range",
        "openai:http://h/v1#m(sends='both')": "sends='both'",
        "openai:http://h/v1#m(failures=1.0)": "failures=1.0",
        "openai:http://h/v1#m(prices=(1,))": "prices",
        "openai:http://h/v1#m(retry=3)": "no argument 'retry'",
        "openai:http://h/v1#m(logprobs=2.5)": "a whole number",
    }.items():
        with pytest.raises(LimbeckError, match=words):
            server(text)


def test_it_is_found_by_its_text(speaker: Speaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    found = writer(f"openai:{speaker.url}#small")
    found.write(["The cat"], Sampling(length=1))
    (file,) = (tmp_path / "servers").glob("*.jsonl")
    assert re.fullmatch(r"[0-9a-f]{16}\.jsonl", file.name)
    assert json.loads(file.read_text())["answer"]["tokens"] == 1
