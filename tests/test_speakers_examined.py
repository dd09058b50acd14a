"""What the doctor finds of two language models that do not fit: contexts, padding, beginnings, ends and templates."""

from pathlib import Path

import pytest
import torch
from small_languages import CHATML, tokenizer
from small_speakers import SYMBOLS, causal

from limbeck.catalog.tasks import task
from limbeck.consultation import doctor
from limbeck.data.rows import TensorRows
from limbeck.distillation import distill
from limbeck.evaluation import teacher_answers
from limbeck.examination.speakers import beginnings, contexts, endings, padding, templates
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.vocabulary import vocabulary
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.recipe import Recipe
from limbeck.teachers.module import ModuleTeacher

CPU = torch.device("cpu")
TURNS = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def test_a_context_below_a_row_is_said_and_one_of_its_length_is_not() -> None:
    networks = {"the student": LanguageNetwork(causal("llama"))}
    assert not list(contexts(networks, 64))
    (found,) = contexts(networks, 65)
    assert found.severity == "warning" and "holds 65 tokens" in found.evidence and "made for 64" in found.evidence


def test_rows_that_stand_for_no_token_are_counted_once_they_are_cut() -> None:
    network = LanguageNetwork(causal("llama"))
    names = [f"w{number}" for number in range(SYMBOLS)]
    model = Model(network, classes=names)
    assert not list(padding({"the teacher": network}))
    model.align(names[:90])
    (found,) = padding({"the teacher": network})
    assert found.severity == "note" and f"7 of its {SYMBOLS} rows" in found.evidence


@pytest.mark.parametrize(
    ("theirs", "ours", "said", "warned"),
    [(False, False, None, False), (True, True, None, False), (True, False, None, True), (False, True, None, True),
     (False, True, False, False), (True, False, True, False), (True, True, False, True)],
)  # fmt: skip
def test_a_beginning_on_one_side_alone_is_said(theirs: bool, ours: bool, said: bool | None, warned: bool) -> None:
    found = list(beginnings(tokenizer(bos=theirs), tokenizer(bos=ours), said))
    assert bool(found) == warned
    if warned:
        assert found[0].remedy == f"data.tokens.bos: {str(theirs).lower()}"


def asked() -> ModuleTeacher:
    names = vocabulary(tokenizer())
    built = causal("llama", vocab_size=len(names), max_position_embeddings=512, double=False)
    teacher = ModuleTeacher(Model(LanguageNetwork(built), classes=names), "small")
    teacher.prepare(Needs(), names)
    return teacher


def ended(likely: float) -> list[object]:
    """What is found of a teacher that thinks so of the end, after documents of seven tokens and one that ends them."""
    teacher, names = asked(), vocabulary(tokenizer())
    end = names.index("<|end|>")
    network = teacher.model.network
    tokens = torch.randint(10, 300, (12, 8), generator=torch.Generator().manual_seed(0))
    tokens[:, -1] = end
    labels = torch.nn.functional.pad(tokens[:, 1:], (0, 1), value=-1)
    with torch.no_grad():
        network.head.bias = torch.nn.Parameter(torch.zeros(len(names)))
        network.head.bias[end] = likely
    teacher.prepare(Needs(), names)
    rows = TensorRows(torch.stack([tokens, torch.ones_like(tokens)], 1), labels, labels >= 0, torch.arange(12))
    said = teacher_answers(teacher, rows, task("language"), device=CPU)
    return list(endings(said, task("language"), names, ["<|end|>"], "validation rows"))


def test_a_teacher_that_never_ends_a_text_is_said() -> None:
    assert not ended(0.0)
    (found,) = ended(-12.0)
    assert "12 ends of the validation rows" in found.evidence and "<|end|>" in found.evidence
    assert not ended(12.0)


def test_another_template_is_said_with_its_nats_and_an_equal_one_is_not() -> None:
    """By hand: the same answers after the question as each template puts it."""
    teacher, judge = asked(), task("language")
    one, other = tokenizer(template=CHATML), tokenizer(template=TURNS)
    assert not list(templates(one, tokenizer(template=CHATML), teacher, judge, CPU))
    network = teacher.model.network
    with torch.no_grad():
        # Random weights hardly hear a template: made to, they do.
        for parameter in network.parameters():
            parameter.mul_(4)
    teacher.prepare(Needs(), vocabulary(one))
    (found,) = templates(one, other, teacher, judge, CPU)
    costs = []
    for template in (CHATML, TURNS):
        whole = []
        for question, answer in (
            ("What is the capital of France?", "The capital of France is Paris."),
            ("How many legs does a spider have?", "A spider has eight legs."),
            ("Name three colours.", "Red, green and blue."),
            ("Why is the sky blue?", "Because air scatters blue light more than red light."),
        ):
            before = one.apply_chat_template(
                [{"role": "user", "content": question}], chat_template=template, add_generation_prompt=True,
                tokenize=False,
            )  # fmt: skip
            shown, said = one(before)["input_ids"], one(answer)["input_ids"]
            logits = network.model(torch.tensor([shown + said])).logits[0].double().log_softmax(-1)
            whole += [-float(logits[len(shown) + place - 1, token]) for place, token in enumerate(said)]
        costs.append(sum(whole) / len(whole))
    assert f"a difference of {costs[1] - costs[0]:+.2f}" in found.evidence


@pytest.mark.slow
def test_the_doctor_sees_a_teacher_that_does_not_fit(tmp_path: Path) -> None:
    from small_languages import SENTENCES, folder

    reads = folder(tmp_path / "reads")
    (tmp_path / "text.txt").write_text("\n\n".join(f"{SENTENCES[n % 4]} {n}" for n in range(80)))
    tokens = {"tokenizer": reads, "length": 24, "documents": "paragraph"}
    training = {"batch": 8, "precision": "float32", "channels_last": False, "compile": False, "threads": 1}
    distill(
        None, "causal(depth=1, size=24, heads=2)", tmp_path / "text.txt", task="language", tokens=tokens,
        budget="2 steps", training=training, to=tmp_path / "teacher", generations=0,
    )  # fmt: skip
    data = {"source": str(tmp_path / "text.txt"), "tokens": {**tokens, "length": 4096}}
    said = {"task": "language", "student": "causal(depth=1, size=24, heads=2)", "training": training}
    subjects = [
        each.subject for each in doctor(Recipe.make(data=data, teacher=str(tmp_path / "teacher"), **said), probe=0)
    ]
    assert "rows are longer than the context of the teacher" in subjects
