"""Recipes: what reading promises, what writing keeps, and that every mistake is said with its line and a remedy."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limbeck.errors import RecipeError
from limbeck.recipe import Recipe

ROOT = Path(__file__).parents[1]
SHIPPED = [*sorted((ROOT / "recipes").glob("*.yaml")), ROOT / "src/limbeck/cli/demo.yaml"]
# A busy machine is slow, not wrong.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,8}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
positive = st.floats(1e-6, 1e6)
objectives = st.sampled_from(
    ["labels", "kd", "0.9 * kd(temperature=4) + 0.1 * labels", "2.0 * hint('a', 'b') + labels"]
)
teachers = st.one_of(
    texts,
    st.lists(st.one_of(texts, st.fixed_dictionaries({"model": texts}, optional={"weight": positive})), min_size=1),
)
rows = st.one_of(st.none(), st.floats(0.001, 0.999), st.integers(1, 10**6))
data = st.one_of(
    texts,
    st.fixed_dictionaries(
        {"source": texts},
        optional={
            "path": names,
            "valid": rows,
            "test": rows,
            "labelled": st.integers(0, 10**6),
            "omit": st.lists(st.one_of(texts, st.integers(0, 9)), max_size=3),
            "seed": st.integers(0, 2**31),
        },
    ),
)
training = st.fixed_dictionaries(
    {},
    optional={
        "batch": st.integers(1, 4096),
        "optimizer": st.sampled_from(["adamw", "sgd"]),
        "lr": positive,
        "clip": st.one_of(st.none(), positive),
        "ema": st.one_of(st.none(), st.floats(0.001, 0.999)),
        "warmup": st.floats(0, 0.99),
        "channels_last": st.sampled_from(["auto", True, False]),
    },
)
shared: dict[str, st.SearchStrategy[Any]] = {
    "name": names.filter(lambda name: name[0] != "."),
    "augment": st.sampled_from(["flip", "crop(padding=2) + flip"]),
    "objective": objectives,
    "budget": st.sampled_from(["3 epochs", "20", 7, "90s", "1.5h", "100 steps"]),
    "control": st.booleans(),
    "seed": st.integers(0, 2**31),
    "seeds": st.integers(1, 9),
    "trackers": st.lists(st.sampled_from(["tensorboard", "wandb"]), max_size=2),
    "device": st.sampled_from(["auto", "cpu"]),
}
plain_recipes = st.fixed_dictionaries(
    {
        "data": data,
        "student": st.sampled_from(["mlp", "cnn(size=16, depth=1)", "timm:resnet18", "runs/a-b", "a.b:c(3)"]),
    },
    optional={**shared, "teacher": teachers, "training": training, "to": names},
)
links = st.fixed_dictionaries(
    {"student": st.sampled_from(["mlp", "cnn(size=4)", "timm:resnet18"])},
    optional={
        **{key: value for key, value in shared.items() if key != "name"},
        "training": training,
        "data": st.one_of(texts, st.fixed_dictionaries({"labelled": st.integers(0, 99)})),
        "augment": st.one_of(st.none(), shared["augment"]),
        "teacher": st.one_of(st.none(), teachers),
    },
)
chains = st.fixed_dictionaries(
    {"data": data, "chain": st.lists(links, min_size=1, max_size=4)},
    optional={**shared, "teacher": teachers, "training": training, "to": names},
)


@unhurried
@given(st.one_of(plain_recipes, chains))
def test_reading_back_what_was_written_changes_nothing(values: dict[str, Any]) -> None:
    recipe = Recipe.make(**values)
    again = Recipe.parse(recipe.yaml())
    assert again == recipe
    assert again.yaml() == recipe.yaml()
    assert again.links() == recipe.links()


@unhurried
@given(chains)
def test_every_link_is_a_whole_recipe(values: dict[str, Any]) -> None:
    recipe = Recipe.make(**values)
    found = recipe.links()
    assert len(found) == len(values["chain"])
    for index, (link, said) in enumerate(zip(found, values["chain"], strict=True)):
        assert not link.chain
        assert Recipe.parse(link.yaml()) == link
        assert link.to == recipe.folder / (link.name or "")
        assert link.training.lr == said.get("training", {}).get("lr", recipe.training.lr)
        if index and "teacher" not in said:
            assert [member.model for member in link.teacher] == [str(found[index - 1].to)]


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_bare_text_is_the_source_and_a_file_names_its_run(tmp_path: Path) -> None:
    recipe = Recipe.read(write(tmp_path, "data: digits\nstudent: mlp\n"))
    assert (recipe.data.source, recipe.name, recipe.folder) == ("digits", "mine", Path("runs/mine"))
    assert recipe.objective == "auto"
    assert list(recipe.all_seeds()) == [0]
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("data: digits\nstudent: mlp\nseed: 4\nseeds: 2\n")
    in_run = Recipe.read(folder / "recipe.yaml")
    assert in_run.name == "small"
    assert list(in_run.all_seeds()) == [4, 5]


def test_an_objective_that_is_left_out_is_auto() -> None:
    for said in ({}, {"objective": "auto"}, {"teacher": "runs/a"}):
        assert Recipe.make(data="digits", student="mlp", **said).objective == "auto"
    assert Recipe.parse("{data: digits, student: mlp, objective: }").objective == "auto"


def test_overrides_change_what_they_name(tmp_path: Path) -> None:
    path = write(tmp_path, "data: digits\nstudent: mlp\naugment: flip\ntraining: {lr: 0.1, batch: 32}\n")
    changes = ["training.lr=3e-3", "seeds=5", "data.valid=0.2", "augment=null", "objective=0.5 * kd + 0.5 * labels"]
    recipe = Recipe.read(path, changes)
    assert (recipe.training.lr, recipe.training.batch, recipe.seeds) == (0.003, 32, 5)
    assert (recipe.data.source, recipe.data.valid, recipe.augment) == ("digits", 0.2, None)
    assert recipe.objective == "0.5 * kd + 0.5 * labels"


def test_overrides_find_links_by_name_and_by_place(tmp_path: Path) -> None:
    path = write(tmp_path, "data: digits\nchain:\n  - {name: big, student: cnn}\n  - {student: mlp}\n")
    recipe = Recipe.read(path, ["chain.big.budget=2 epochs", "chain.1.seeds=3"])
    assert (recipe.links()[0].budget, recipe.links()[1].seeds) == ("2 epochs", 3)


CHAIN = """
data: {source: digits, valid: 0.1}
to: out
objective: 0.5 * kd + 0.5 * labels
record: 2
training: {lr: 0.01, clip: 2.0}
chain:
  - {name: big, student: cnn, data: {labelled: 50}}
  - {student: mlp, training: {clip: null}}
  - {student: "timm:resnet18(pretrained=True)", teacher: big, objective: labels}
  - {student: mlp, teacher: [{model: big, weight: 2}, runs/other]}
  - {student: mlp, teacher: null}
"""


def test_links_inherit_override_and_teach_the_next() -> None:
    big, second, third, fourth, fifth = Recipe.parse(CHAIN).links()
    assert [link.name for link in (big, second, third, fourth, fifth)] == [
        "big",
        "1-mlp",
        "2-timm-resnet18",
        "3-mlp",
        "4-mlp",
    ]
    assert (big.teacher, big.objective, big.record) == ((), "auto", None)
    assert (big.data.labelled, big.data.valid, second.data.labelled) == (50, 0.1, None)
    assert (second.teacher[0].model, second.objective, second.record) == ("out/big", "0.5 * kd + 0.5 * labels", 2)
    assert (second.training.clip, second.training.lr, third.training.clip) == (None, 0.01, 2.0)
    assert (third.teacher[0].model, third.objective) == ("out/big", "labels")
    assert [(member.model, member.weight) for member in fourth.teacher] == [("out/big", 2.0), ("runs/other", 1.0)]
    assert (fifth.teacher, fifth.objective) == ((), "auto")


def test_anchors_and_merges_work() -> None:
    recipe = Recipe.parse("data: &d {source: digits, seed: 1}\nstudent: mlp\ntraining: {<<: &t {lr: 0.5}, batch: 8}\n")
    assert (recipe.training.lr, recipe.training.batch) == (0.5, 8)
    with pytest.raises(RecipeError, match=r"r\.yaml:3: unknown key 'bach' in training"):
        Recipe.parse("data: digits\nstudent: mlp\ntraining: {<<: {bach: 8}}\n", source="r.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: digits", ["student is missing", "limbeck models"]),
        ("student: mlp", ["data is missing"]),
        ("data: digits\nstudent: mlp\nbudgt: 3", ["r.yaml:3", "'budgt'", "did you mean 'budget'?"]),
        ("data: digits\nstudent: mlp\nlr: 3", ["r.yaml:3", "'lr'", "training.lr"]),
        ("data: digits\nstudent: mlp\ntraining:\n  learning_rate: 3", ["r.yaml:4", "did you mean 'lr'?"]),
        ("data: {source: digits, labeled: 9}\nstudent: mlp", ["r.yaml:1", "did you mean 'labelled'?"]),
        ("data: digits\nstudent: mlp\nstudent: cnn", ["r.yaml:3", "twice", "line 2"]),
        ("data: digits\nstudent: mlp\ntraining:\n  lr: -1", ["r.yaml:4", "training.lr is -1", "greater than 0"]),
        ("data: digits\nstudent: mlp\ntraining: {lr: .nan}", ["r.yaml:3", "training.lr is nan", "finite"]),
        ("data: digits\nstudent: mlp\ntraining: {lr: fast}", ["r.yaml:3", "'fast'", "a number"]),
        ("data: digits\nstudent: mlp\ntraining: 3", ["r.yaml:3", "training has no keys"]),
        ("data: {source: digits, valid: 1.5}\nstudent: mlp", ["data.valid is 1.5", "a share of the rows"]),
        ("data: {source: digits, valid: .inf}\nstudent: mlp", ["data.valid is inf", "a share of the rows"]),
        ("data: {source: digits, omit: [no]}\nstudent: mlp", ["data.omit", "in quotes"]),
        ("data: digits\nstudent: mlp\nbudget: 3 parsecs", ["r.yaml:3", "'3 parsecs'", "20 epochs"]),
        ("data: digits\nstudent: mlp(", ["r.yaml:2", "the student cannot be read"]),
        ("data: digits\nstudent: mlp\nobjective: 0.9 * kd(", ["r.yaml:3", "the objective cannot be read"]),
        ("data: digits\nstudent: mlp\naugment: ''", ["r.yaml:3", "the augmentation is empty"]),
        ("data: digits\nstudent: mlp\nrecord: 2", ["r.yaml:3", "no teacher to record"]),
        ("data: digits\nstudent: mlp\nteacher: {model: a, weight: 0}", ["r.yaml:3", "weight is 0", "greater than 0"]),
        ("data: digits\nstudent: mlp\nseeds: 0", ["seeds is 0", "greater than or equal to 1"]),
        ("data: digits\nstudent: mlp\nname: ../up", ["r.yaml:3", "'../up'"]),
        ("data: digits\nchain:\n- {student: mlp}\n- {student: mlp, training: {bach: 3}}", ["r.yaml:4", "'batch'"]),
        ("data: digits\nchain:\n- {student: mlp}\n- {studnt: mlp}", ["r.yaml:4", "did you mean 'student'?"]),
        ("data: digits\nchain:\n- {student: mlp}\n- {budget: 2}", ["r.yaml:4", "student is missing"]),
        ("data: digits\nchain:\n- {name: a, student: mlp}\n- {name: a, student: mlp}", ["r.yaml:2", "called 'a'"]),
        ("data: digits\n\tstudent: mlp", ["r.yaml:2"]),
        ("data: digits\n1: mlp", ["r.yaml:2", "the key 1 is no text"]),
        ("- data", ["no recipe", "key: value"]),
        ("", ["no recipe"]),
        ("data: !!python/object/apply:os.system [echo]\nstudent: mlp", ["r.yaml:1", "tag"]),
        ("a: &a [*a]", ["r.yaml"]),
        ("data: 2020-13-45\nstudent: mlp", ["r.yaml"]),
        ("[" * 5000, ["r.yaml"]),
    ],
)
def test_a_mistake_is_said_with_its_line_and_what_to_do(text: str, said: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(text, source="r.yaml")
    for part in said:
        assert part in str(caught.value)
    assert caught.value.exit_code == 2


def test_aliases_of_aliases_are_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(RecipeError, match="more than 10,000 values"):
        Recipe.parse("\n".join(lines))


def test_several_mistakes_are_said_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse("data: digits\nstudent: mlp\nlr: 3\nseed: -1\n", source="r.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "r.yaml: 2 mistakes"
    assert any("r.yaml:3" in line for line in lines)
    assert any("r.yaml:4" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("trainig.lr=3", "did you mean 'training'?"),
        ("training.lrr=3", "did you mean 'lr'?"),
        ("training.lr=-3", "--set training.lr=-3: training.lr is -3"),
        ("training.lr", "key=value"),
        ("=3", "key=value"),
        ("training.lr=[", "YAML"),
        ("chain.5.budget=3", "from 0 to 1, or one of: big"),
        ("chain.bigg.budget=3", "one of: big"),
        ("chain.big.budget=never", "--set chain.big.budget=never: the budget 'never'"),
    ],
)
def test_a_mistake_in_an_override_says_which(tmp_path: Path, change: str, said: str) -> None:
    path = write(tmp_path, "data: digits\nchain:\n  - {name: big, student: cnn}\n  - {student: mlp}\n")
    with pytest.raises(RecipeError) as caught:
        Recipe.read(path, [change])
    assert said in str(caught.value)
    assert f"--set {change}" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, "data: digits\nstudent: mlp\n")
    with pytest.raises(RecipeError, match=r"did you mean 'mine\.yaml'"):
        Recipe.read(tmp_path / "mina.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.read(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"data: \xff\xfe")
    with pytest.raises(RecipeError, match="UTF-8"):
        Recipe.read(tmp_path / "binary.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(RecipeError, match="2,000,000 bytes"):
        Recipe.read(tmp_path / "large.yaml")


@unhurried
@given(st.text(max_size=200))
def test_no_text_makes_reading_crash(text: str) -> None:
    try:
        Recipe.parse(text)
    except RecipeError:
        pass


@unhurried
@given(plain_recipes, st.text(max_size=20))
def test_no_override_makes_reading_crash(values: dict[str, Any], change: str) -> None:
    try:
        Recipe.parse(yaml.safe_dump(values), overrides=[change])
    except RecipeError:
        pass


def test_replace_is_checked() -> None:
    recipe = Recipe.make(data="digits", student="mlp")
    assert recipe.replace(seed=3).seed == 3
    with pytest.raises(RecipeError, match="seed is -3"):
        recipe.replace(seed=-3)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_recipes_we_ship_are_right(path: Path) -> None:
    recipe = Recipe.read(path)
    assert Recipe.parse(recipe.yaml()) == recipe
    for link in recipe.links():
        assert link.student
