"""A language model from text to a run: a teacher, its recording, a smaller student, and the student opened again."""

import io
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_languages import SENTENCES, folder
from small_runs import small
from tokenizers.normalizers import Lowercase

from limbeck.catalog.data import data_of
from limbeck.catalog.languages import tokenizer
from limbeck.catalog.models import of_run
from limbeck.catalog.tasks import task
from limbeck.cli import main
from limbeck.consultation import doctor
from limbeck.distillation import distill
from limbeck.errors import DataError, RecipeError
from limbeck.evaluation import answers
from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.recipe import Generations, Recipe
from limbeck.records import read_generations
from limbeck.run import Run, generate_run
from limbeck.teachers.recording import RecordedTeacher

TOKENS = {"length": 24, "documents": "paragraph"}
SCHOOL = {"batch": 8, "lr": 0.01, "precision": "float32", "channels_last": False, "compile": False, "threads": 1}


def spoken(place: Path) -> Path:
    """A text in which what comes next can be learnt."""
    words = "cat dog house river stone letter brother north mat door".split()
    lines = []
    for number in range(160):
        one, two, three = (words[(number * step + shift) % len(words)] for step, shift in ((1, 0), (3, 1), (7, 2)))
        lines.append(f"The {one} sat by the {two}, and the {three} sat by the {one}. {SENTENCES[number % 4]}")
    place.write_text("\n\n".join(lines))
    return place


def call(*arguments: str, code: int = 0) -> None:
    """Runs the command line in this process and checks its exit code."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert (left.value.code or 0) == code


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a tokenizer and the run of a teacher."""
    place = tmp_path_factory.mktemp("school")
    reads = folder(place / "reads")
    spoken(place / "text.txt")
    distill(
        None,
        "causal(depth=2, size=48, heads=2)",
        place / "text.txt",
        task="language",
        tokens={**TOKENS, "tokenizer": reads},
        budget="60 steps",
        training=SCHOOL,
        to=place / "teacher",
        generations=0,
    )
    return place


def taught(school: Path, to: str, temperature: float, steps: int, **said: object) -> Run:
    return distill(
        str(school / "teacher"),
        "causal(depth=1, size=24, heads=2)",
        school / "text.txt",
        task="language",
        tokens={**TOKENS, "tokenizer": f"hf:{school / 'reads'}"},
        objective=f"0.9 * kd(temperature={temperature}) + 0.1 * labels",
        budget=f"{steps} steps",
        training=SCHOOL,
        to=school / to,
        **{"generations": 0, **said},
    )


def test_a_teacher_has_learnt_the_text_and_says_what_its_numbers_mean(school: Path) -> None:
    metrics = Run.open(school / "teacher").record.results[0].student.metrics
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["nll"]))
    # Knowing nothing costs log 360 = 5.9 nats a token.
    assert metrics["nll"] < 2.0


def test_a_recorded_teacher_teaches_what_a_live_one_does(school: Path) -> None:
    live = taught(school, "live", 2, 20, control=False)
    recorded = taught(school, "recorded", 2, 20, record=1, keep="topk(k=360, precision='float32')", control=False)
    found = list((school / "recorded" / "recording").iterdir())
    assert "topk(k=360" in repr(RecordedTeacher(found[0]).recording.keep)
    ours, theirs = (run.record.results[0].student.metrics for run in (live, recorded))
    for name in ("nll", "kl", "agreement"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name


@pytest.mark.slow
def test_a_student_is_closer_to_its_teacher_than_the_same_one_alone(school: Path) -> None:
    run = taught(school, "student", 1, 100, record=1, keep="topk(k=32)")
    result = run.record.results[0]
    assert result.control is not None
    assert result.student.metrics["kl"] < 0.8 * result.control.metrics["kl"]
    assert (run.folder / "report.html").is_file()
    assert [panel.name for panel in run.record.panels if panel.name == "teacher_saw"]


def test_teacher_student_and_control_go_on_side_by_side_when_a_run_ends(school: Path) -> None:
    run = taught(school, "shown", 1, 10, generations={"prompts": 3, "length": 5, "temperature": 0.7})
    said = read_generations(run.folder)
    reads = tokenizer(str(run.folder))
    assert [line["way"] for line in said] == ["greedy", "drawn at T=0.7"] * 3
    networks = {"teacher": Run.open(school / "teacher").student(), "student": run.student(), "control": run.control()}
    prompts = [reads(line["prompt"])["input_ids"] for line in said[::2]]
    for way, temperature in enumerate((0.0, 0.7)):
        how = Sampling(5, (reads.eos_token_id,), temperature=temperature, seed=0)
        for who, model in networks.items():
            again = model.network.generate(prompts, how)
            ended = [tokens[-1] == reads.eos_token_id for tokens in again]
            assert [line[who]["ended"] for line in said[way::2]] == ended
            texts = [reads.decode(tokens[: len(tokens) - end]) for tokens, end in zip(again, ended, strict=True)]
            assert [line[who]["text"] for line in said[way::2]] == texts
    # Each prompt and what the document goes on with stand in the text, and no document was trained on.
    whole = (school / "text.txt").read_text()
    assert all(f"{line['prompt']}{line['data']['text']}" in whole for line in said)
    (panel,) = [panel for panel in run.record.panels if panel.name == "generations"]
    assert panel.data["columns"] == ["", "the documents", "teacher", "student", "student alone"]
    page = (run.folder / "report.html").read_text()
    assert "What each goes on with" in page and "How 3 held-out documents are gone on with" in page
    assert run.recipe().generations == Generations(prompts=3, length=5, temperature=0.7)
    assert run.record.seconds["generations"] > 0 and run.record.data["tokens"]["ends"] == ["<|end|>"]
    assert not (school / "teacher" / "generations.jsonl").exists()


def test_transformers_alone_loads_a_student_as_it_is(school: Path, tmp_path: Path) -> None:
    run = Run.open(school / "teacher")
    document = [10, 20, 30, 40, 50, 0]
    script = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model, reads = (kind.from_pretrained(sys.argv[1]) for kind in (AutoModelForCausalLM, AutoTokenizer))
document, prompt = json.loads(sys.argv[2]), reads("The cat sat by", return_tensors="pt")
with torch.no_grad():
    logits = model(torch.tensor([document])).logits[0]
said = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0, prompt["input_ids"].shape[1]:]
assert "limbeck" not in sys.modules
print(json.dumps([logits.tolist(), said.tolist(), model.generation_config.eos_token_id]))
"""
    command = [sys.executable, "-c", script, str(run.folder / "transformers"), json.dumps(document)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    logits, said, end = json.loads(done.stdout)
    network = run.student().network
    with torch.no_grad():
        ours = network(torch.tensor([[document, [1] * len(document)]]))[0]
    assert torch.allclose(torch.tensor(logits), ours, rtol=0, atol=1e-5)
    prompt = tokenizer(str(run.folder))("The cat sat by")["input_ids"]
    assert end == [0] and said == network.generate([prompt], Sampling(40, (0,)))[0] and said[-1] == 0


TALKS = [
    {"messages": [{"role": "user", "content": "What is two and two?"}]},
    {"prompt": "The cat sat by"},
    {"prompt": "A house of [stone]"},
]


def test_a_run_goes_on_with_prompts_and_answers_messages(
    school: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = school / "teacher"
    run, reads = Run.open(folder), tokenizer(str(folder))
    asked = [
        reads.apply_chat_template(TALKS[0]["messages"], add_generation_prompt=True)["input_ids"],
        *(reads(talk["prompt"])["input_ids"] for talk in TALKS[1:]),
    ]
    # A plain text ends with <|end|>, and an answer to a message with <|im_end|>.
    how = Sampling(9, (0, 3), temperature=0.8, nucleus=0.9, seed=5)
    said = run.student().network.generate(asked, how)
    expected = [reads.decode(tokens[:-1] if tokens[-1] in (0, 3) else tokens) for tokens in said]
    (tmp_path / "talks.jsonl").write_text("".join(f"{json.dumps(talk)}\n\n" for talk in TALKS))
    options = ["--temperature", "0.8", "--nucleus", "0.9", "--length", "9", "--seed", "5"]
    call("predict", str(folder), str(tmp_path / "talks.jsonl"), "--json", *options)
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert [answer["text"] for answer in found] == expected
    assert [answer["prompt"] for answer in found] == [TALKS[0]["messages"], *(talk["prompt"] for talk in TALKS[1:])]
    assert [answer["ended"] for answer in found] == [tokens[-1] in (0, 3) for tokens in said]
    # As it stands, from a file of texts, and from the standard input: greedily where nothing is said.
    greedy = generate_run(run, ["The cat sat by"], length=9)[0]["text"]
    (tmp_path / "prompts.txt").write_text("The cat sat by\r\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("The cat sat by\n" + json.dumps(TALKS[1])))
    for typed, count in (("The cat sat by", 1), (str(tmp_path / "prompts.txt"), 1), ("-", 2)):
        call("predict", str(folder), typed, "--json", "--length", "9")
        assert [answer["text"] for answer in json.loads(capsys.readouterr().out)["predictions"]] == [greedy] * count
    call("predict", str(folder), "A house of [stone]", "--length", "3")
    assert "[stone]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"prompt": "a"}\n{"prompt"', "talks.jsonl:2 is no JSON"),
        ('{"text": "a"}', "talks.jsonl:1 is neither a prompt nor messages"),
        ('{"prompt": ["a"]}', "neither a prompt"),
        ('{"messages": [{"role": "user"}]}', "the prompt 0 holds a message of 'user' whose content is no text"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "nothing is asked"),
        ('{"prompt": ""}', "the prompt 0 of 1 is empty"),
        ("\n", "holds no prompt"),
    ],
)
def test_prompts_that_are_none_are_refused_with_their_line(
    school: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: str, message: str
) -> None:
    (tmp_path / "talks.jsonl").write_text(lines)
    call("predict", str(school / "teacher"), str(tmp_path / "talks.jsonl"), code=3)
    assert message in " ".join(capsys.readouterr().err.split())


def test_texts_are_not_asked_of_what_does_not_speak_nor_beyond_the_context(
    school: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("predict", str(school / "teacher"), "talks.jsonl", code=3)
    assert "there is no file talks.jsonl" in capsys.readouterr().err
    call("predict", str(school / "teacher"), "a b", "--length", "2048", code=4)
    assert "more than the context" in " ".join(capsys.readouterr().err.split())
    run = small(None, tmp_path / "digits", budget="1 steps")
    with pytest.raises(DataError, match="does not speak"):
        generate_run(run, ["a"])
    call("predict", str(run.folder), "rows.npy", "--length", "3", code=3)
    assert "--length is for texts" in " ".join(capsys.readouterr().err.split())


def test_texts_are_asked_for_where_there_are_texts(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the recipe asks for generations"):
        distill(None, "mlp", "digits", generations=3, to=tmp_path / "run")


def test_a_run_speaks_again_where_teacher_and_tokenizer_are_gone(school: Path, tmp_path: Path) -> None:
    place = tmp_path / "moved"
    shutil.copytree(school / "teacher", place)
    network = of_run(place).network
    assert isinstance(network, LanguageNetwork)
    assert torch.equal(of_run(place)(ROW), Run.open(school / "teacher").student()(ROW))
    reads = tokenizer(str(place))
    assert reads.get_vocab() == tokenizer(f"hf:{school / 'reads'}").get_vocab()


def test_a_teacher_that_cuts_texts_apart_otherwise_is_found(school: Path, tmp_path: Path) -> None:
    data = {"source": str(school / "text.txt"), "tokens": {**TOKENS, "tokenizer": f"hf:{school / 'reads'}"}}
    said = {"task": "language", "student": "causal(depth=1, size=24, heads=2)", "training": SCHOOL}
    recipe = Recipe.make(data=data, teacher=str(school / "teacher"), **said)
    alike = [finding.subject for finding in doctor(recipe, probe=0)]
    assert "teacher and data cut texts apart otherwise" not in alike
    moved = tmp_path / "teacher"
    shutil.copytree(school / "teacher", moved)
    # The same tokens, but the text is made lower case first.
    reads = tokenizer(str(moved))
    reads.backend_tokenizer.normalizer = Lowercase()
    reads.save_pretrained(str(moved / "tokenizer"))
    (found,) = [
        finding
        for finding in doctor(recipe.replace(teacher=str(moved)), probe=0)
        if finding.subject == "teacher and data cut texts apart otherwise"
    ]
    assert found.severity == "warning"
    assert "of 360 tokens" in found.evidence and "knows 360, 360 under the same number" in found.evidence


ROW = torch.tensor([[[10, 20, 30, 40, 50], [1, 1, 1, 2, 2]]])


def test_the_scores_of_a_run_are_those_of_its_student_on_the_test_rows(school: Path) -> None:
    run = Run.open(school / "teacher")
    data = data_of(run.recipe().data, labels="tokens")
    judge = task("language")
    said = answers(run.student(), data.test, judge)
    nll = judge.metrics(said.outputs, said.labels, said.known)["nll"]
    assert nll == pytest.approx(run.record.results[0].student.metrics["nll"], rel=1e-5)
