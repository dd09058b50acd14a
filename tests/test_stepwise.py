"""Steps and answer as two tasks: which token belongs to which, and their two means with their weights."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_languages import folder, tokenizer

from limbeck.catalog.data import data_of
from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import task
from limbeck.data.encoding import Ends, completed, reasoned
from limbeck.data.loader import batches, in_order
from limbeck.errors import DataError, ObjectiveError
from limbeck.recipe import Columns, DataSpec, Tokens
from limbeck.signals import Batch, Signals

ROWS = [
    {"prompt": "What is two and two?", "steps": " Two and two is four.", "answer": " It is 4."},
    {"prompt": "[answer] Who sat on the mat?", "steps": "", "answer": " The cat."},
    {"prompt": "[steps] Who sat on the mat?", "steps": " The cat sat by the mat.", "answer": ""},
    {"prompt": "Nobody lives there?", "steps": " She wro", "answer": "te a letter."},  # a token runs across
] * 5
COLUMNS = Columns(inputs=("prompt",), rationale="steps", label=("answer",))


def written(place: Path, rows: list[dict[str, Any]]) -> str:
    place.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(place)


def spec(source: str, reads: str, columns: Columns = COLUMNS, **said: Any) -> DataSpec:
    tokens = Tokens(tokenizer=reads, length=48)
    return DataSpec(source=source, columns=columns, tokens=tokens, valid=2, test=2, **said)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("eos", ["<|end|>", None])
def test_steps_and_answer_have_the_tokens_of_both(bos: bool, eos: str | None) -> None:
    reads = tokenizer(bos=bos, eos=eos)
    ends = Ends.of(reads, Tokens(tokenizer="it", length=48))
    prompts, steps, answers = ([row[name] for row in ROWS[:4]] for name in ("prompt", "steps", "answer"))
    whole = [before + after for before, after in zip(steps, answers, strict=True)]
    plain = list(completed(reads, prompts, whole, ends, "completions"))
    found = list(reasoned(reads, prompts, steps, answers, ends, "completions"))
    assert [(each.tokens, each.learnt) for each in found] == [(each.tokens, list(each.learnt)) for each in plain]
    for place, each in enumerate(found):
        (learnt,), (first, after) = each.learnt, each.rationale
        assert first == learnt[0] and after <= learnt[1]
        said = reads.decode(each.tokens[first:after])
        if place == 2:  # no answer: the end belongs to the steps
            assert after == len(each.tokens) and said.replace("<|end|>", "") == steps[place]
        elif place == 3:  # the token across belongs to the answer
            assert steps[place].startswith(said) and said != steps[place]
        else:
            assert said == steps[place]


@pytest.mark.parametrize("learn", [None, "all"])
@pytest.mark.parametrize("pack", [True, False])
def test_a_rationale_changes_no_token_and_no_label(tmp_path: Path, pack: bool, learn: Any) -> None:
    reads = folder(tmp_path / "reads")
    stepwise = spec(written(tmp_path / "rows.jsonl", ROWS), reads)
    joined = [{"prompt": row["prompt"], "completion": row["steps"] + row["answer"]} for row in ROWS]
    plain = spec(written(tmp_path / "joined.jsonl", joined), reads, Columns())
    tokens = Tokens(tokenizer=reads, length=48, pack=pack, learn=learn)
    ours, theirs = (data_of(each.model_copy(update={"tokens": tokens}), labels="tokens") for each in (stepwise, plain))
    for name, rows in ours.splits().items():
        others = theirs.splits()[name]
        one, other = rows.take(torch.arange(len(rows))), others.take(torch.arange(len(others)))
        assert torch.equal(one.inputs, other.inputs) and torch.equal(one.labels, other.labels)
        assert other.rationale is None and one.rationale is not None
        assert not bool((one.rationale & ~one.known).any())
        assert rows.fingerprint != others.fingerprint and rows.inputs_fingerprint == others.inputs_fingerprint
    found = next(in_order(ours.train, task("language"), batch_size=64))
    known = tokenizer()
    assert found.rationale is not None and found.labels is not None
    said = known.decode(found.labels[found.rationale & found.known].tolist())
    assert said.count("Two and two is four.") == said.count("She")
    assert "It is 4" not in said and said.count("The cat sat by the mat.<|end|>") >= 1


def test_the_two_means_and_their_gradients_by_hand() -> None:
    """Hsieh et al., 2023, equation 3, in loops over floats: the mean over answers, and λ times that over rationales."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    head = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(7, (3, 5), generator=generator)
    labels[0, 0] = labels[2, 3] = -1
    steps = torch.rand(3, 5, generator=generator) < 0.6
    batch = replace(Batch.of(torch.zeros(3, 2, 5, dtype=torch.int64), labels, task("language")), rationale=steps)
    weight = 0.3
    method = objective(f"labels(of='answer') + {weight} * labels(of='rationale')")
    assert repr(method) == "labels(of='answer') + 0.3 * labels(of='rationale')"
    dense = (hidden @ head.T).requires_grad_()
    found = method.loss(Signals.dense(dense), Signals(), batch)
    found.total.backward()

    logits, places = (hidden @ head.T).tolist(), [(r, p) for r in range(3) for p in range(5) if labels[r, p] >= 0]
    counts = {kind: sum(bool(steps[place]) == kind for place in places) for kind in (True, False)}
    total, slopes = 0.0, torch.zeros(3, 5, 7, dtype=torch.float64)
    for row, place in places:
        kind = bool(steps[row, place])
        share = (weight if kind else 1.0) / counts[kind]
        powers = [math.exp(each) for each in logits[row][place]]
        truth = int(labels[row, place])
        total -= share * math.log(powers[truth] / sum(powers))
        for symbol, power in enumerate(powers):
            slopes[row, place, symbol] = share * (power / sum(powers) - (symbol == truth))
    assert math.isclose(float(found.total.detach()), total, rel_tol=1e-12)
    assert dense.grad is not None
    torch.testing.assert_close(dense.grad, slopes, rtol=1e-10, atol=1e-14)

    states, weights = hidden.clone().requires_grad_(), head.clone().requires_grad_()
    through = method.loss(Signals.hidden(states, weights), Signals(), batch)
    through.total.backward()
    torch.testing.assert_close(through.total, found.total.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(states.grad, slopes @ head, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(weights.grad, slopes.flatten(0, 1).T @ hidden.flatten(0, 1), rtol=1e-10, atol=1e-14)

    whole = method.counts(batch)
    parts = [
        method.loss(Signals.dense(dense.detach()[one]), Signals(), batch.rows(one), counts=whole).total
        for one in (slice(0, 1), slice(1, 3))
    ]
    torch.testing.assert_close(sum(parts), found.total.detach(), rtol=1e-12, atol=0)


def test_both_tasks_at_one_weight_are_not_the_mean_over_all_tokens() -> None:
    labels = torch.tensor([[1, 1, 1, 2]])
    batch = Batch.of(torch.zeros(1, 2, 4, dtype=torch.int64), labels, task("language"))
    batch = replace(batch, rationale=torch.tensor([[True, True, True, False]]))
    logits = torch.zeros(1, 4, 3, dtype=torch.float64)
    logits[0, 3, 2] = 5.0
    said = Signals.dense(logits)
    answer, steps = -math.log(math.exp(5) / (2 + math.exp(5))), math.log(3)
    both = objective("labels(of='answer') + labels(of='rationale')").loss(said, Signals(), batch).total
    every = objective("labels").loss(said, Signals(), batch).total
    assert math.isclose(float(both), answer + steps) and math.isclose(float(every), (answer + 3 * steps) / 4)


def test_batches_of_an_epoch_bring_their_rationale(tmp_path: Path) -> None:
    data = data_of(spec(written(tmp_path / "rows.jsonl", ROWS), folder(tmp_path / "reads")), labels="tokens")
    for batch in batches(data.train, task("language"), batch_size=2, seed=0, epoch=0):
        assert batch.rationale is not None and batch.rationale.shape == batch.known.shape
        at = torch.isin(data.train.ids, batch.ids).nonzero().flatten()
        order = torch.stack([(data.train.ids == number).nonzero()[0, 0] for number in batch.ids])
        assert len(at) == len(order) and torch.equal(batch.rationale, data.train.rationale[order])


def test_data_without_steps_is_refused_by_a_term_that_asks_for_them() -> None:
    labels = torch.tensor([[1, 2]])
    batch = Batch.of(torch.zeros(1, 2, 2, dtype=torch.int64), labels, task("language"))
    said = Signals.dense(torch.zeros(1, 2, 3))
    with pytest.raises(ObjectiveError, match="does not tell steps from answers"):
        objective("labels(of='rationale')").loss(said, Signals(), batch)
    own = replace(batch, known=torch.zeros(1, 2, dtype=torch.bool))
    assert float(objective("labels(of='answer')").loss(said, Signals(), own).total) == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(inputs=("prompt",), rationale="steps"), "columns.rationale is 'steps'"),
        (Columns(inputs=("prompt",), rationale="answer", label=("answer",)), "columns.rationale is 'answer'"),
        (Columns(inputs=("prompt",), rationale="stesp", label=("answer",)), "there is no column 'stesp'"),
    ],
)
def test_columns_that_do_not_go_together_are_refused(tmp_path: Path, columns: Columns, message: str) -> None:
    source, reads = written(tmp_path / "rows.jsonl", ROWS), folder(tmp_path / "reads")
    with pytest.raises(DataError, match=message):
        data_of(spec(source, reads, columns), labels="tokens")


def test_a_row_without_steps_and_answer_cannot_be_read(tmp_path: Path) -> None:
    rows = [*ROWS, {"prompt": "What?", "steps": " ", "answer": None}, {"prompt": "", "steps": "a", "answer": "b"}]
    source, reads = written(tmp_path / "rows.jsonl", rows), folder(tmp_path / "reads")
    with pytest.raises(DataError, match="2 of 22 documents"):
        data_of(spec(source, reads), labels="tokens")
    assert data_of(spec(source, reads, unreadable=0.2), labels="tokens").facts["unreadable"]["count"] == 2
