"""A teacher with another tokenizer: spans of one text, and what it says at the student's positions, by loops."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_languages import SENTENCES, coarse, pieces
from small_languages import tokenizer as byte_level
from small_speakers import causal
from torch import Tensor

from limbeck.catalog.models import Shape, model
from limbeck.catalog.objectives import objective
from limbeck.catalog.teachers import teacher
from limbeck.data.rows import TensorRows
from limbeck.divergences import AdaptiveKL, JensenShannon, kl, reverse_kl, sorted_distance
from limbeck.errors import LimbeckError, ModelError, TeacherError
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.spans import Interpreter, Span, spans
from limbeck.languages.spelling import spelt
from limbeck.languages.vocabulary import vocabulary
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.preflight import check
from limbeck.signals import Batch, Signals
from limbeck.targets.aligned import AlignedTargets
from limbeck.tasks.language import Language
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.retokenised import RetokenisedTeacher

TEXTS = ("The cat sat by the river; two and two is four.", "Grüße aus Köln! 100 €", "nobody wrote a letter")


READERS: dict[str, Any] = {
    "coarse": coarse,
    "pieces": pieces,
    "same": byte_level,
    "same, begun": lambda: byte_level(bos=True),
}


def shown(reads: Any, *texts: str, length: int = 0, end: bool = True) -> Tensor:
    """Texts as documents of one row each; a reader that begins its texts does so."""
    rows = []
    for text in texts:
        tokens = reads(text)["input_ids"] + ([reads.eos_token_id] if end else [])
        rows.append(tokens)
    longest = max(length, *map(len, rows))
    return torch.stack(
        [torch.tensor([row + [0] * (longest - len(row)), [1] * len(row) + [0] * (longest - len(row))]) for row in rows]
    )


def network(known: Any, seed: int, **more: Any) -> Model:
    size = max(known.get_vocab().values()) + 1 + more.pop("padded", 0)
    made = LanguageNetwork(causal("llama", seed=seed, vocab_size=size, max_position_embeddings=256, **more))
    for parameter in made.parameters():  # so that no distribution is flat
        parameter.data.mul_(3)
    return Model(made, classes=vocabulary(known, size))


def asked(theirs: Any, ours: Any, rows: Tensor, seed: int = 3, **more: Any) -> tuple[Signals, Model]:
    """What a teacher of one tokenizer says about rows of another, and its network."""
    built = network(theirs, seed, **more)
    found = RetokenisedTeacher(built, theirs, ours, "teacher")
    found.prepare(Needs(soft=frozenset({(kl, 1.0)})), vocabulary(ours))
    return found.signals(batch_of(rows)), built


def labelled(rows: Tensor) -> TensorRows:
    batch = batch_of(rows)
    return TensorRows(rows, batch.labels, batch.known, batch.ids)


def batch_of(rows: Tensor) -> Batch:
    following = torch.where((rows[:, 1, 1:] == rows[:, 1, :-1]) & (rows[:, 1, 1:] > 0), rows[:, 0, 1:], -1)
    return Batch.of(rows, torch.nn.functional.pad(following, (0, 1), value=-1), Language())


# Spans


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=40), st.data())
def test_spans_are_the_shortest_whose_ends_are_ends_in_both(text: bytes, data: Any) -> None:
    cuts = [sorted(data.draw(st.sets(st.integers(1, len(text))), label="cuts") | {len(text)}) for _ in range(2)]
    sizes = [[after - before for before, after in zip([0, *ends], ends, strict=False)] for ends in cuts]
    found = spans(*sizes)
    both = sorted(set(cuts[0]) & set(cuts[1]))
    assert [sum(sizes[0][: span.ours[1]]) for span in found] == both
    assert [sum(sizes[1][: span.theirs[1]]) for span in found] == both
    assert [span.ours[0] for span in found] == [0, *(span.ours[1] for span in found[:-1])]
    assert found[-1] == Span((found[-1].ours[0], len(sizes[0])), (found[-1].theirs[0], len(sizes[1])))


def test_tokens_of_no_bytes_belong_to_the_span_before_them() -> None:
    assert spans([2, 0, 1, 0], [3]) == [Span((0, 4), (0, 1))]
    assert spans([0, 2, 0, 1], [2, 1]) == [Span((0, 3), (0, 1)), Span((3, 4), (1, 2))]


@pytest.mark.parametrize("name", READERS)
def test_what_tokens_spell_is_the_text(name: str) -> None:
    reads = READERS[name]()
    bytes_ = spelt(reads)
    for text in (*TEXTS, *SENTENCES):
        written = b"".join(bytes_[token] for token in reads(text, add_special_tokens=False)["input_ids"])
        assert written.removeprefix(b" ") == text.encode()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(READERS)), st.sampled_from(list(READERS)), st.text(min_size=1, max_size=30))
def test_spans_of_two_readings_spell_the_same(ours: str, theirs: str, text: str) -> None:
    one, other = READERS[ours](), READERS[theirs]()
    tokens = [*one(text)["input_ids"], one.eos_token_id]
    interpreter = Interpreter(one, other)
    reading = interpreter.read(tokens)
    for span in reading.spans:
        mine = b"".join(interpreter.our_bytes[token] for token in tokens[slice(*span.ours)])
        its = b"".join(interpreter.their_bytes[token] for token in reading.tokens[slice(*span.theirs)])
        if tokens[slice(*span.ours)] == [one.eos_token_id]:
            assert reading.tokens[slice(*span.theirs)] == [other.eos_token_id]
        else:
            assert mine.removeprefix(b" ") == its.removeprefix(b" ")


def test_a_token_for_the_begin_on_one_side_alone_shifts_nothing() -> None:
    """Where only the teacher begins a text, its spans are those it has without; only the first token is nobody's."""
    plain, begun = byte_level(), byte_level(bos=True)
    tokens = plain(TEXTS[0])["input_ids"]
    same = Interpreter(plain, begun).read(tokens)
    assert same.tokens == [begun.bos_token_id, *tokens]
    assert same.spans == [Span((place, place + 1), (place + 1, place + 2)) for place in range(1, len(tokens))]
    back = Interpreter(begun, plain).read([begun.bos_token_id, *tokens])
    assert back.tokens == tokens
    assert back.spans == [Span((place + 1, place + 2), (place, place + 1)) for place in range(1, len(tokens))]


def test_what_was_cut_out_of_a_character_is_in_no_span() -> None:
    reads = byte_level()
    tokens = reads("Ω mat Ω")["input_ids"]  # no merge knows this letter: it is two tokens
    interpreter = Interpreter(reads, coarse())
    whole, cut = interpreter.read(tokens), interpreter.read(tokens[1:-1])
    assert coarse().decode(cut.tokens, skip_special_tokens=True) == " mat "
    # The half letter is no text, and the teacher has read nothing before it but the token for the begin.
    assert [span.ours for span in cut.spans] == [
        (first - 1, after - 1)
        for first, after in (span.ours for span in whole.spans)
        if first >= 2 and after <= len(tokens) - 2
    ]


def test_tokens_mean_the_first_of_ours_for_the_same_text() -> None:
    ours, theirs = byte_level(), coarse()
    interpreter = Interpreter(ours, theirs)
    same, first = 0, 0
    for place, (bytes_, number) in enumerate(zip(interpreter.their_bytes, interpreter.meant, strict=True)):
        if place == theirs.bos_token_id:
            assert number == -1
        elif place == theirs.eos_token_id:
            assert number == ours.eos_token_id
        elif bytes_ in interpreter.our_bytes:
            same += 1
            assert interpreter.our_bytes[number] == bytes_
        else:
            first += 1
            assert number == ours(bytes_.decode())["input_ids"][0] and bytes_.startswith(interpreter.our_bytes[number])
    assert same > 256 and first > 5


def test_a_tokenizer_whose_tokens_spell_nothing_known_is_refused() -> None:
    from small_speakers import tokenizer as words

    with pytest.raises(ModelError, match="spell is not known"):
        Interpreter(words(), byte_level())


# What the teacher says


@pytest.mark.parametrize("begun", [False, True])
def test_an_equal_tokenizer_says_what_the_teacher_says_itself(begun: bool) -> None:
    """With tokens of its own, padded rows of the head are never asked for."""
    reads = byte_level(bos=begun)
    rows = shown(reads, *TEXTS)
    said, built = asked(reads, reads, rows, padded=5)
    assert isinstance(said.targets, AlignedTargets) and said.said is not None
    batch, student = batch_of(rows), network(reads, 9)(rows)
    assert torch.equal(said.said, batch.mask)
    own = ModuleTeacher(built, "own")
    own.prepare(Needs(), vocabulary(reads))
    dense = own.signals(batch).targets
    assert dense is not None
    assert Interpreter(reads, reads).meant == list(range(360))
    for divergence in (kl, JensenShannon(0.5), sorted_distance):
        ours, theirs = (each.divergence(divergence, student, 1.0)[batch.mask] for each in (said.targets, dense))
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12), divergence


def by_hand(
    theirs: Any, ours: Any, tokens: list[int], built: Model, student: Tensor
) -> dict[int, tuple[float, float, float]]:
    """For each position that is said: KL, sorted distance, and the logarithm of the next token's probability."""
    interpreter = Interpreter(ours, theirs)
    reading = interpreter.read(tokens)
    logits = built.network._whole[0](input_ids=torch.tensor([reading.tokens]), use_cache=False).logits[0].tolist()
    size, silenced = len(interpreter.our_bytes), {place for place, n in enumerate(interpreter.meant) if n < 0}
    found = {}

    def softmax(row: list[float], without: Collection[int] = ()) -> list[float]:
        top = max(row)
        mass = [0.0 if place in without else math.exp(number - top) for place, number in enumerate(row)]
        return [number / sum(mass) for number in mass]

    for span in reading.spans:
        (first, after), (begin, end) = span.ours, span.theirs
        p = [softmax(logits[place - 1], silenced) for place in range(begin, end)]
        product = math.prod(row[reading.tokens[begin + number]] for number, row in enumerate(p))
        q = [0.0] * size
        for place, number in enumerate(interpreter.meant):
            if number >= 0:
                q[number] += p[0][place]
        source = interpreter.meant[reading.tokens[begin]]
        if source != tokens[first]:
            q[source] -= product
            q[tokens[first]] += product
        s = softmax(student[first - 1].tolist())
        padded = [*p[0], *[0.0] * (size - len(p[0]))], [*s, *[0.0] * (len(p[0]) - size)]
        ranks = zip(*(sorted(each, reverse=True) for each in padded), strict=True)
        found[first - 1] = (
            sum(a * math.log(a / b) for a, b in zip(q, s, strict=True) if a > 0),
            sum(abs(a - b) for a, b in ranks),
            math.log(q[tokens[first]]),
        )
        rest = (product / q[tokens[first]]) ** (1 / max(after - first - 1, 1))
        for place in range(first + 1, after):
            s = softmax(student[place - 1].tolist())[tokens[place]]
            value = rest * math.log(rest / s) + ((1 - rest) * math.log((1 - rest) / (1 - s)) if rest < 1 else 0.0)
            ranks = zip(sorted([rest, 1 - rest]), sorted([s, 1 - s]), strict=True)
            found[place - 1] = (value, sum(abs(a - b) for a, b in ranks), math.log(rest))
    return found


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("same", "coarse"),
        ("coarse", "same"),
        ("pieces", "same, begun"),
        ("same, begun", "pieces"),
        ("coarse", "pieces"),
    ],
)
def test_what_is_said_is_the_reference(ours: str, theirs: str) -> None:
    one, other = READERS[ours](), READERS[theirs]()
    rows = shown(one, *TEXTS)
    said, built = asked(other, one, rows)
    assert said.said is not None and isinstance(said.targets, AlignedTargets)
    student = network(one, 9)(rows).detach()
    values = [said.targets.divergence(each, student, 1.0) for each in (kl, sorted_distance)]
    logits = torch.log_softmax(said.targets.made_logits(), dim=-1)
    several = 0
    for row, line in enumerate(rows):
        tokens = line[0][line[1] > 0].tolist()
        expected = by_hand(other, one, tokens, built, student[row])
        assert said.said[row].nonzero()[:, 0].tolist() == sorted(expected)
        for place, numbers in expected.items():
            found = [float(value[row, place]) for value in values] + [float(logits[row, place, tokens[place + 1]])]
            # The row by itself and the row beside others are products of other shapes, in float32: with AVX-512 they
            # differ by up to 1.2e-6 of themselves.
            assert found == pytest.approx(numbers, rel=1e-5, abs=1e-8), (row, place)
        several += int((~said.targets.begins[row] & said.said[row]).sum())
    assert several > 0 or ours == "coarse"


def test_a_span_has_the_probability_of_its_text() -> None:
    """The product of what is said of the student's tokens is the product of what the teacher says of its own."""
    ours, theirs = pieces(), byte_level(bos=True)
    rows = shown(ours, TEXTS[1])
    said, built = asked(theirs, ours, rows)
    tokens = rows[0, 0][rows[0, 1] > 0].tolist()
    reading = Interpreter(ours, theirs).read(tokens)
    logits = built.network(torch.tensor([[reading.tokens, [1] * len(reading.tokens)]]))[0]
    cut = torch.tensor([number < 0 for number in Interpreter(ours, theirs).meant])
    own = torch.log_softmax(logits.masked_fill(cut, -torch.inf), dim=-1)
    assert isinstance(said.targets, AlignedTargets)
    told = torch.log_softmax(said.targets.made_logits()[0], dim=-1)
    longer = [span for span in reading.spans if span.ours[1] - span.ours[0] > 1]
    assert longer
    for span in longer:
        mine = sum(float(told[place - 1, tokens[place]]) for place in range(*span.ours))
        its = sum(float(own[place - 1, reading.tokens[place]]) for place in range(*span.theirs))
        assert mine == pytest.approx(its, rel=1e-9)


def test_documents_of_a_row_are_read_apart() -> None:
    ours, theirs = byte_level(), coarse()
    one, other = (ours(text)["input_ids"] for text in TEXTS[:2])
    packed = torch.tensor([[[*one, 5, *other, 0], [1] * len(one) + [0] + [2] * len(other) + [0]]])
    together, _ = asked(theirs, ours, packed)
    for start, tokens in ((0, one), (len(one) + 1, other)):
        alone, _ = asked(theirs, ours, torch.tensor([[tokens, [1] * len(tokens)]]))
        assert alone.said is not None and together.said is not None
        place = slice(start, start + len(tokens))
        assert torch.equal(together.said[0, place], alone.said[0])
        assert isinstance(alone.targets, AlignedTargets) and isinstance(together.targets, AlignedTargets)
        found, expected = together.targets.made_logits()[0, place], alone.targets.made_logits()[0]
        assert torch.allclose(found[alone.said[0]].exp(), expected[alone.said[0]].exp(), atol=1e-9)


def test_losses_through_the_head_are_those_of_all_logits_at_once() -> None:
    ours, theirs = byte_level(bos=True), pieces()
    rows = shown(ours, *TEXTS)
    said, _ = asked(theirs, ours, rows)
    batch, student = batch_of(rows), network(ours, 9)
    wanted = objective("0.5 * kd(temperature=1) + 0.3 * uld + 0.2 * labels")
    hidden, weight, bias = student.before_head(rows)
    through = wanted.loss(Signals.hidden(hidden, weight, bias), said, batch).total
    (gradient,) = torch.autograd.grad(through, weight)
    whole = wanted.loss(Signals.dense(student(rows)), said, batch).total
    (expected,) = torch.autograd.grad(whole, weight)
    assert through.item() == pytest.approx(whole.item(), rel=1e-12)
    assert torch.allclose(gradient, expected, rtol=1e-9, atol=1e-12) and bool(gradient.abs().sum() > 0)


def test_what_it_cannot_answer_is_refused_by_name(tmp_path: Path) -> None:
    ours, theirs = byte_level(), coarse()
    rows = shown(ours, TEXTS[0])
    said, _ = asked(theirs, ours, rows)
    assert isinstance(said.targets, AlignedTargets)
    for divergence, temperature, message in (
        (kl, 2.0, "temperature=1"),
        (reverse_kl, 1.0, "infinite"),
        (AdaptiveKL(0.5), 1.0, "merged"),
    ):
        with pytest.raises(TeacherError, match=message):
            said.targets.divergence(divergence, torch.zeros(1, rows.shape[2], 360), temperature)
    found = RetokenisedTeacher(network(theirs, 3), theirs, ours, "teacher")
    with pytest.raises(TeacherError, match="asked for its logits"):
        found.prepare(Needs(logits=True), vocabulary(ours))
    with pytest.raises(TeacherError, match="told of a tokenizer with 360"):
        found.prepare(Needs(), vocabulary(theirs))


def test_as_a_text_and_named_where_a_plain_teacher_does_not_fit(tmp_path: Path) -> None:
    ours, theirs = byte_level(), coarse()
    built = network(theirs, 3, tie_word_embeddings=False)
    built.network.float().save(tmp_path / "teacher")
    theirs.save_pretrained(tmp_path / "teacher")
    ours.save_pretrained(tmp_path / "reads")
    shape = Shape((2, 9), 360, vocabulary(ours), torch.zeros(1), torch.ones(1))
    with pytest.raises(LimbeckError, match=r"retokenised\('hf:.*temperature=1"):
        teacher(f"hf:{tmp_path / 'teacher'}", shape).prepare(Needs(), vocabulary(ours))
    text = f"retokenised('hf:{tmp_path / 'teacher'}', tokens='hf:{tmp_path / 'reads'}')"
    found = teacher(text, shape)
    rows = shown(ours, *TEXTS)
    student = network(ours, 9)
    student.network.float()
    for wanted in ("0.9 * kd(temperature=1) + 0.1 * labels", "labels + 1.5 * uld"):
        check(student, found, objective(wanted), Language(), vocabulary(ours), batch_of(rows), labelled(rows))
    with pytest.raises(TeacherError, match="temperature=1"):
        check(student, found, objective("kd"), Language(), vocabulary(ours), batch_of(rows), labelled(rows))
    with pytest.raises(ModelError, match="can teach, and cannot learn"):
        model(text, shape)
