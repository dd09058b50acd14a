"""What models say after held-out prompts: where a prompt ends, and figures counted by hand."""

import json
from pathlib import Path

import pytest
import torch
from small_speakers import causal, row, tokenizer

from limbeck.errors import ModelError, RunError
from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.packed import Passage, passages
from limbeck.languages.speech import Text, figures, fitting, held_out, lines, spoken, table
from limbeck.records import read_generations, write_generations
from limbeck.reporting.generations import texts


def learnt(*stretches: tuple[int, int], length: int = 16) -> list[bool]:
    return [any(first <= place < after for first, after in stretches) for place in range(length)]


def test_a_prompt_reaches_to_the_first_token_that_is_learnt_and_no_further() -> None:
    rows = torch.stack(
        [
            # Two documents: 7 8 9 | 10 11, and 12 13 | 14 | 15 16, whose second answer is left alone.
            row([7, 8, 9, 10, 11], [12, 13, 14, 15, 16], length=16),
            # Plain text, learnt from its first token on, after a document of which nothing is learnt.
            row([20, 21], list(range(30, 41)), before=1, length=16),
        ]
    )
    known = torch.tensor([learnt((2, 4), (6, 7), (8, 9)), learnt((3, 13))])
    asked, plain = passages(rows, known, opening=4)
    assert asked == [Passage((7, 8, 9), (10, 11)), Passage((12, 13), (14,))]
    assert plain == [Passage((30, 31, 32, 33), tuple(range(34, 41)))]
    # No more than half of it is shown, and one token always.
    assert passages(rows, known, opening=100)[1] == [Passage((30, 31, 32, 33, 34), tuple(range(35, 41)))]
    assert passages(rows, known)[1] == [Passage((30,), tuple(range(31, 41)))]


def test_prompts_come_from_every_row_before_a_second_one_comes_from_any() -> None:
    rows = torch.stack([row([1, 2, 3], [4, 5, 6], length=8), row([7, 8, 9], length=8)])
    known = torch.tensor([learnt((1, 2), (4, 5), length=8), learnt((1, 2), length=8)])
    found = [passage.prompt for passage in held_out(rows, known, 9)]
    assert found == [(1, 2), (7, 8), (4, 5)]
    assert [passage.prompt for passage in held_out(rows, known, 2)] == found[:2]


def test_prompts_that_leave_no_room_in_the_shortest_context_are_left_out() -> None:
    wide, narrow = (LanguageNetwork(causal("llama", max_position_embeddings=size)) for size in (64, 16))
    found = [Passage(tuple(range(3, 3 + size)), (9,)) for size in (4, 12, 15)]
    assert fitting(found, [wide, narrow], 4) == (found[:2], 4)
    assert fitting(found[1:], [wide, narrow], 9) == (found[1:2], 4)
    assert fitting([Passage(tuple(range(3, 19)), ())], [narrow], 4)[0] == []
    assert fitting(found, [LanguageNetwork(causal("gpt2"))], 9) == (found, 9)


def test_figures_are_those_counted_by_hand() -> None:
    ours = [Text((1, 2, 1, 2, 1, 2), ended=True), Text((3,), ended=False)]
    theirs = [Text((1, 2, 3), ended=True), Text((3,), ended=True)]
    found = figures(ours, theirs)
    assert found == pytest.approx(
        {
            "tokens": 3.5,
            "ended": 0.5,
            "distinct-1": 3 / 7,
            "distinct-2": 2 / 5,
            "distinct-3": 2 / 4,
            # 1212, 2121, 1212: one of three was there before; the other text is too short to repeat itself.
            "repeated": 1 / 3,
            # Of 7 (six tokens and an end) two; of 2 (a token, and an end that is missing) one.
            "as the teacher": (2 / 7 + 1 / 2) / 2,
        }
    )
    assert figures([Text((), ended=True)], [Text((), ended=True)])["as the teacher"] == 1
    silent = figures([Text((), ended=False)], [Text((), ended=False)])
    assert silent["distinct-1"] is None and silent["as the teacher"] == 1
    long = [Text(tuple(range(40)), ended=False)]
    assert figures(long, [Text((*range(16), *range(90, 99)), ended=True)])["as the teacher"] == 1


def test_each_goes_on_greedily_and_by_draws_and_ends_where_a_text_ends() -> None:
    networks = {
        who: LanguageNetwork(causal("llama", seed=seed, double=False))
        for seed, who in enumerate(("teacher", "student"))
    }
    found = [Passage((7, 30, 8), (5, 2)), Passage((40,), (9, 9, 9))]
    first = networks["student"].generate([found[0].prompt], Sampling(6))[0]
    end = (first[2],)
    greedy = Sampling(6, end, seed=3)
    ways = {"greedy": greedy, "drawn": Sampling(6, end, temperature=1.0, seed=3)}
    said = spoken(networks, found, ways)
    cut = first.index(end[0])
    assert said["greedy"]["student"][0] == Text(tuple(first[:cut]), ended=True)
    drawn = networks["teacher"].generate([passage.prompt for passage in found], ways["drawn"])
    assert said["drawn"]["teacher"] == [Text.of(tokens, end) for tokens in drawn]
    data = [Text.of(passage.rest, (2,)) for passage in found]
    written = list(lines(said, found, data, ways, tokenizer()))
    assert [line["way"] for line in written] == ["greedy", "drawn"] * 2
    assert written[0]["prompt"] == "w3 w26 w4" and written[0]["data"] == {"text": "w1", "tokens": 1, "ended": True}
    assert written[0]["student"]["tokens"] == cut and written[1]["temperature"] == 1.0
    shown = table(said, data, ["teacher", "student"], ways)
    assert shown["columns"] == ["", "the documents", "teacher", "student"]
    rows = {line[0]: line[1:] for line in shown["rows"]}
    assert rows["greedy: tokens"][0] == 2 and rows["greedy: as the teacher"][:2] == [None, None]
    assert rows["greedy: as the teacher"][2] is not None and "drawn: as the teacher" not in rows
    assert rows["greedy: ended"][2] == figures(said["greedy"]["student"], None)["ended"]


def test_the_file_of_texts_is_read_back_whole_and_damage_is_said(tmp_path: Path) -> None:
    assert read_generations(tmp_path) == [] and texts(tmp_path) == []
    text = {"text": "a\u2028b\n<c>", "tokens": 2, "ended": True}
    line = {"prompt": "p", "way": "greedy", "data": text, "student": {**text, "ended": False}}
    write_generations([line, line], tmp_path)
    assert read_generations(tmp_path) == [line, line]
    (panel,) = texts(tmp_path)
    assert panel.data["columns"] == ["how", "prompt", "the document", "student"]
    assert panel.data["rows"][0] == ["greedy", "p", "a\u2028b\n<c> ■", "a\u2028b\n<c>"]
    for damaged in ('{"prompt"', json.dumps({"prompt": "p"}), "[1]"):
        (tmp_path / "generations.jsonl").write_text(damaged)
        with pytest.raises(RunError, match="damaged"):
            read_generations(tmp_path)


def test_an_answer_cannot_be_drawn_from_nothing() -> None:
    with pytest.raises(ModelError, match="length=0"):
        spoken({}, [], {"greedy": Sampling(0)})
