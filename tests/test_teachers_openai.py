"""A server as a teacher: what it says over HTTP equals what the same model says here, as far as it says it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_languages import SENTENCES, SPECIAL, tokenizer
from small_server import Speaker, answer, serving
from small_speakers import causal

from limbeck.catalog.data import data_of
from limbeck.catalog.models import Shape
from limbeck.catalog.teachers import teacher
from limbeck.data.source import Data
from limbeck.distillation import distill
from limbeck.divergences import kl
from limbeck.errors import RecordingError, TeacherError, TeacherStopped
from limbeck.languages.naming import NOBODY, Spelling
from limbeck.languages.spelling import byte_signs
from limbeck.languages.vocabulary import vocabulary
from limbeck.objective import Needs
from limbeck.recipe import DataSpec, Tokens
from limbeck.recorder import record
from limbeck.recordings.store import Recording
from limbeck.signals import Batch
from limbeck.tasks.language import Language
from limbeck.teachers.openai import OpenAITeacher

SHAPE = Shape((2, 64), 360, (), torch.zeros(1), torch.ones(1))
KEPT = 12
NEEDS = Needs(soft=frozenset({(kl, 1.0)}))
KEEP = f"topk(k={KEPT}, precision='float32')"


@pytest.fixture(scope="module")
def speaks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of random weights, its tokenizer, and a text."""
    place, known = tmp_path_factory.mktemp("speaks"), tokenizer(bos=True)
    sizes = {"vocab_size": 368, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 0, "initializer_range": 0.3}
    causal("llama", double=False, attention="sdpa", **sizes).save_pretrained(place)
    known.save_pretrained(place)
    lines = [f"{SENTENCES[number % 5]} {SENTENCES[number % 3]} {number}" for number in range(40)]
    (place / "text.txt").write_text("\n\n".join(lines))
    return place


@pytest.fixture
def speaker(speaks: Path) -> Iterator[Speaker]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(speaks).eval()
    with serving(Speaker(model, AutoTokenizer.from_pretrained(speaks))) as found:
        yield found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def text(speaks: Path, **tokens: Any) -> Data:
    said = Tokens(tokenizer=f"hf:{speaks}", length=64, documents="paragraph", **tokens)
    return data_of(DataSpec(source=str(speaks / "text.txt"), tokens=said), labels="tokens")


def served(speaker: Speaker, **said: Any) -> Any:
    brackets = ", ".join(f"{k}={v!r}" for k, v in {"logprobs": KEPT, "timeout": 5, "retries": 0, **said}.items())
    return teacher(f"openai:{speaker.url}#small({brackets})", SHAPE)


def recorded(what: Any, data: Data, to: Path, keep: str = KEEP) -> Recording:
    asked = {"needs": NEEDS, "classes": data.classes, "keep": keep, "batch_size": 4}
    return Recording(record(what, data.train, Language(), to=to, **asked))


def heard(recording: Recording) -> Any:
    found = recording.signals(recording.ids, torch.zeros(len(recording.ids)).long()).targets
    assert found is not None
    return found


@pytest.mark.filterwarnings("ignore:.*the other tokens are in the tail")
@pytest.mark.parametrize("speech", ["vllm", "echo", "llama", "begins"])
def test_a_recording_through_a_server_is_that_of_the_same_model_here(
    speaks: Path, speaker: Speaker, tmp_path: Path, speech: str
) -> None:
    data = text(speaks, bos=False) if speech == "echo" else text(speaks)
    speaker.speaks = "llama" if speech == "begins" else speech
    speaker.begins = 1 if speech == "begins" else None
    here = heard(recorded(teacher(f"hf:{speaks}", SHAPE), data, tmp_path / "here"))
    there = heard(recorded(served(speaker), data, tmp_path / "there"))
    counts = data.train.take(torch.arange(len(data.train))).known
    counts = counts[data.train.ids.argsort()]
    assert int(counts.sum()) > 1000
    ours, theirs = (by_symbol(each, counts) for each in (here, there))
    if speech == "vllm":  # numbers name every token; texts do not name what is no whole letter
        assert [set(each) for each in ours] == [set(each) for each in theirs]
        student = torch.randn(*counts.shape, len(data.classes), generator=torch.Generator().manual_seed(0))
        one, other = here.divergence(kl, student, 1.0)[counts], there.divergence(kl, student, 1.0)[counts]
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-4)
    assert sum(map(len, theirs)) > 3 * len(theirs)
    for mine, told in zip(ours, theirs, strict=True):
        for symbol in mine.keys() & told.keys():
            assert mine[symbol] == pytest.approx(told[symbol], abs=2e-5)


def by_symbol(targets: Any, counts: torch.Tensor) -> list[dict[int, float]]:
    """Log-probabilities of the named symbols at the positions that count, the tail's share included."""
    both = torch.cat([targets.logits, targets.tails], dim=-1).double()
    logs = torch.log_softmax(both, dim=-1)[counts]
    symbols = targets.symbols[counts]
    return [
        {symbol: value for symbol, value in zip(names, values, strict=False) if symbol < targets.size}
        for names, values in zip(symbols.tolist(), logs.tolist(), strict=True)
    ]


def test_a_stopped_recording_goes_on_and_asks_for_nothing_again(speaks: Path, speaker: Speaker, tmp_path: Path) -> None:
    data = text(speaks)
    speaker.misbehaves = lambda request, number: number >= 17 and answer(request, 503, {"error": "down"})
    with pytest.raises(TeacherStopped, match="state 503"):
        recorded(served(speaker, at_once=1), data, tmp_path / "r")
    speaker.misbehaves = lambda request, number: False
    whole = recorded(served(speaker), data, tmp_path / "r")
    prompts = [tuple(body["prompt"]) for body in speaker.asked]
    documents = {prompt for place, prompt in enumerate(prompts) if place != 17}
    assert len(prompts) == len(documents) + 1
    again = recorded(served(speaker), data, tmp_path / "again")  # all of it out of the file of answers
    assert len(speaker.asked) == len(prompts)
    for one, other in zip(vars(heard(whole)).values(), vars(heard(again)).values(), strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_a_student_learns_from_it_live_and_from_its_recording(speaks: Path, speaker: Speaker, tmp_path: Path) -> None:
    school = {"batch": 8, "lr": 0.01, "precision": "float32", "channels_last": False, "compile": False, "threads": 1}
    said = {"task": "language", "training": school, "budget": "6 steps", "control": False}
    said |= {"tokens": {"tokenizer": f"hf:{speaks}", "length": 64, "documents": "paragraph"}}
    student, source = "causal(depth=1, size=16, heads=2)", str(speaks / "text.txt")
    url = f"openai:{speaker.url}#small(logprobs={KEPT})"
    live = distill(url, student, source, objective="kd(temperature=1)", to=tmp_path / "live", **said)
    kept = distill(
        url, student, source, objective="kd(temperature=1)", to=tmp_path / "kept", record=1, keep=KEEP, **said
    )
    assert live.record.teacher is None and kept.record.results[0].student is not None
    for name in ("nll", "accuracy"):
        one, other = (run.record.results[0].student.metrics[name] for run in (live, kept))
        assert one == pytest.approx(other, rel=1e-4)
    assert "Bearer" not in (tmp_path / "live" / "recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (Needs(soft=frozenset({(kl, 4.0)})), r"at temperature 1, and the objective asks at T=4\n.*sum over each"),
        (Needs(soft=frozenset({(kl, 1.0)}), between=frozenset({(kl, 2.0)})), "objective asks at T=2"),
        (Needs(logits=True), "the objective reads logits"),
        (Needs(teacher_layers=frozenset({"body"})), "has no layers"),
    ],
)
def test_needs_it_cannot_serve_are_refused_before_it_is_asked(speaker: Speaker, needs: Needs, words: str) -> None:
    with pytest.raises(TeacherError, match=words):
        served(speaker).prepare(needs, ("a", "b"))
    assert not speaker.asked


def refusal(speaker: Speaker, data: Data, **said: Any) -> str:
    asks = served(speaker, **said)
    asks.prepare(NEEDS, data.classes)
    with pytest.raises(TeacherError) as caught:
        asks.fits(data.train, None)
    return str(caught.value)


def test_a_server_without_log_probabilities_is_refused_before_training(speaks: Path, speaker: Speaker) -> None:
    speaker.speaks = "text"
    said = refusal(speaker, text(speaks))
    assert "says no log-probabilities" in said and "valid string" in said and "limbeck write" in said
    assert "its answer holds no logprobs" in said


def test_other_tokens_than_were_sent_are_shown_where_they_differ_first(speaks: Path, speaker: Speaker) -> None:
    data = text(speaks)
    speaker.renames = dict.fromkeys(range(5, 360), " der")
    said = refusal(speaker, data, sends="numbers")
    assert "read other tokens than were sent" in said and "token 1 is ' der' there, and '" in said
    speaker.renames, speaker.speaks, speaker.begins = {}, "llama", 1
    speaker.speaks = "echo"
    said = refusal(speaker, text(speaks, bos=False))
    assert "token 0 is '<|begin|>' there" in said


def test_log_probabilities_that_come_a_place_late_are_noticed(speaks: Path, speaker: Speaker) -> None:
    speaker.speaks = "llama"
    said = refusal(speaker, text(speaks, bos=False))
    assert "of other places than it goes on at" in said and "data.tokens.bos: true" in said


def test_rows_that_the_server_reads_otherwise_are_silent_up_to_a_share(
    speaks: Path, speaker: Speaker, tmp_path: Path
) -> None:
    data = text(speaks)
    bad = next(
        token for token in range(359, 0, -1) if int((data.train.inputs.take(torch.arange(3))[:, 0] == token).sum())
    )
    rows = data.train.take(torch.arange(len(data.train))).inputs[:, 0]
    silent = int((rows == bad).any(dim=1).sum())
    speaker.renames = {bad: "another"}
    with pytest.raises(TeacherStopped, match=r"failed on .* rows"):
        recorded(served(speaker, failures=0.0), data, tmp_path / "none")
    with pytest.warns(UserWarning, match="said nothing about"):
        found = recorded(served(speaker, failures=0.99), data, tmp_path / "some")
    assert 0 < silent < len(data.train) and sum(map(len, found.silent.values())) == silent


def test_fewer_log_probabilities_than_asked_for_are_a_partial_target(
    speaks: Path, speaker: Speaker, tmp_path: Path
) -> None:
    data = text(speaks)
    speaker.most = 3
    with pytest.warns(UserWarning, match="asked for 12 .* says 4 at most"):
        there = heard(recorded(served(speaker), data, tmp_path / "there"))
    assert there.partial and int((there.symbols < there.size).sum(dim=-1).max()) == 4
    here = heard(recorded(teacher(f"hf:{speaks}", SHAPE), data, tmp_path / "h", KEEP.replace("12", "3")))
    counts = data.train.take(torch.arange(len(data.train))).known[data.train.ids.argsort()]
    student = torch.zeros(*counts.shape, len(data.classes))
    one, other = (each.divergence(kl, student, 1.0)[counts] for each in (here, there))
    assert bool((other >= one - 1e-4).all())  # the label's own is named as well, where it is not among the three
    speaker.most = 1000
    with pytest.raises(RecordingError, match=r"k=20\) was asked of a teacher with 12 logits"):
        recorded(served(speaker, ledger=str(tmp_path / "more.jsonl")), data, tmp_path / "more", "topk(k=20)")


@pytest.mark.parametrize("keep", ["dense", "sampled"])
def test_only_the_likeliest_can_be_kept(speaks: Path, speaker: Speaker, tmp_path: Path, keep: str) -> None:
    with pytest.raises(TeacherError, match="no dense logits; what was kept is the 12 largest of 360 logits"):
        recorded(served(speaker), text(speaks), tmp_path / "r", keep)


def test_log_probabilities_of_no_distribution_are_refused(speaks: Path, speaker: Speaker) -> None:
    speaker.misbehaves = lambda request, number: answer(
        request,
        200,
        {
            "choices": [
                {
                    "prompt_logprobs": [
                        None,
                        *[
                            {str(t): {"logprob": 0.0} for t in (token, 5)}
                            for token in speaker.asked[number]["prompt"][1:]
                        ],
                    ]
                }
            ]
        },
    )
    assert "probabilities sum to 2" in refusal(speaker, text(speaks))
    speaker.misbehaves = lambda request, number: answer(request, 200, {"choices": [{"prompt_logprobs": [1, 2]}]})
    assert "speaks of 2 tokens" in refusal(speaker, text(speaks), sends="numbers")


def test_what_is_not_said_is_the_tail(speaks: Path, speaker: Speaker) -> None:
    asks, data = served(speaker), text(speaks)
    asks.prepare(NEEDS, data.classes)
    piece = data.train.take(torch.arange(2))
    batch = Batch.of(piece.inputs, piece.labels, Language())
    found = asks.signals(batch).targets
    assert isinstance(asks, OpenAITeacher) and found is not None
    whole = torch.cat([found.logits, found.tails], dim=-1).double().logsumexp(dim=-1)
    torch.testing.assert_close(whole, torch.zeros_like(whole), rtol=0, atol=1e-6)
    ends = ~batch.mask
    assert float(found.tails[ends].abs().max()) == 0 and bool(found.logits[ends].isneginf().all())
    same = found.divergence(kl, speaker_logits(speaker, piece.inputs), 1.0)[batch.mask]
    assert float(same.abs().max()) < 1e-5


def speaker_logits(speaker: Speaker, inputs: torch.Tensor) -> torch.Tensor:
    """All log-probabilities of each document by itself."""
    found = torch.zeros(len(inputs), inputs.shape[2], 360)
    for row, (tokens, numbers) in enumerate(inputs.tolist()):
        for number in range(1, max(numbers) + 1):
            places = [place for place, each in enumerate(numbers) if each == number]
            found[row, places] = speaker.distributions([tokens[place] for place in places]).float()
    return found


def test_bytes_and_names_of_tokens() -> None:
    known = tokenizer()
    spelling = Spelling(vocabulary(known))
    assert len(byte_signs()) == 256 and sorted(byte_signs().values()) == list(range(256))
    for sentence in SENTENCES:
        tokens = known(sentence)["input_ids"]
        assert spelling.text(tokens) == sentence
        for token in tokens:
            assert known.decode([token]) in spelling.names(token)
    (euro,) = [tokens for tokens in [known("€")["input_ids"]] if len(tokens) > 1]
    assert spelling.text(euro[:1]) is None and spelling.numbers["\ufffd"] == NOBODY
    assert spelling.text([SPECIAL.index("<|im_end|>")]) == "<|im_end|>"
    pieces = Spelling(["<unk>", "<s>", "\u2581the", "<0x0A>", "ing"])
    assert [pieces.of(token) for token in range(5)] == [b"<unk>", b"<s>", b" the", b"\n", b"ing"]
    assert pieces.numbers[" the"] == 2 and pieces.numbers["bytes:\\x0a"] == 3 and pieces.numbers["token_id:4"] == 4
