"""The grammar and the catalog of methods: what is read, what is refused and how, and that nothing is ever evaluated."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.catalog.objectives import card, kind_in_words, method, methods, names, needs_in_words, objective
from limbeck.divergences import kl
from limbeck.errors import LimbeckError, ObjectiveError, RecipeError
from limbeck.grammar import Call, Term, parse_call, parse_sum
from limbeck.notation import written
from limbeck.objective import Needs, Objective

IDENTIFIERS = st.from_regex(r"[a-z]{1,3}_[a-z]{1,3}", fullmatch=True)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    FLOATS | st.integers() | st.text(max_size=8) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
WEIGHTS = st.floats(0, 1e6)
TERMS = st.tuples(
    WEIGHTS,
    st.sampled_from(["labels", "logit_mse"])
    | st.floats(1e-6, 1e6).map(lambda value: f"kd(temperature={value!r})")
    | st.tuples(st.floats(0, 1e3), st.text(min_size=1, max_size=5)).map(
        lambda pair: f"rkd(angle={pair[0]!r}, student_layer={pair[1]!r})"
    )
    | st.text(min_size=1, max_size=5).map(lambda name: f"hint({name!r}, teacher_layer='body.1')"),
)
QUICK = settings(max_examples=60, deadline=None, derandomize=True)


def parts(made: Objective) -> list[tuple[float, type[Objective], dict[str, object]]]:
    """An objective as its weighted terms with their arguments."""
    return [
        (weight, type(term), {name: getattr(term, name) for name in inspect.signature(type(term)).parameters})
        for weight, term in made.terms()
    ]


# Reading


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("kd", [Term(1.0, Call("kd"))]),
        (" kd() ", [Term(1.0, Call("kd"))]),
        (
            "0.9 * kd(temperature=4) + 0.1*labels",
            [Term(0.9, Call("kd", (), {"temperature": 4})), Term(0.1, Call("labels"))],
        ),
        ("kd(4) * 2", [Term(2.0, Call("kd", (4,)))]),
        ("2 * 3 * kd", [Term(6.0, Call("kd"))]),
        ("2 * (a + 3 * (b + c)) + d", [Term(w, Call(n)) for w, n in ((2, "a"), (6, "b"), (6, "c"), (1, "d"))]),
        ("(a + b) * 2 + 1e-3 * c", [Term(w, Call(n)) for w, n in ((2, "a"), (2, "b"), (1e-3, "c"))]),
        ("a + (b + c)", [Term(1.0, Call(name)) for name in "abc"]),
        ("-1 * a", [Term(-1.0, Call("a"))]),
        ("my.pkg.mine('x', deep=(1, -2.5, None), on=True)", [
            Term(1.0, Call("my.pkg.mine", ("x",), {"deep": (1, -2.5, None), "on": True}))
        ]),
        ("(0.9 * kd\n + labels)", [Term(0.9, Call("kd")), Term(1.0, Call("labels"))]),
    ],
)  # fmt: skip
def test_sums(text: str, terms: list[Term]) -> None:
    assert parse_sum(text, "objective") == terms


@QUICK
@given(
    name=IDENTIFIERS, arguments=st.lists(VALUES, max_size=2), keywords=st.dictionaries(IDENTIFIERS, VALUES, max_size=3)
)
def test_calls_that_are_written_read_back(name: str, arguments: list[object], keywords: dict[str, object]) -> None:
    inside = [written(value) for value in arguments] + [f"{key}={written(value)}" for key, value in keywords.items()]
    call = parse_call(f"{name}({', '.join(inside)})", "student")
    assert call == Call(name, tuple(arguments), keywords)


@QUICK
@given(value=FLOATS)
def test_numbers_are_written_shortly_and_exactly(value: float) -> None:
    assert float(written(value)) == value
    assert len(written(value)) <= len(repr(value))


@QUICK
@given(st.lists(TERMS, min_size=1, max_size=4), WEIGHTS)
def test_objectives_that_are_written_read_back(terms: list[tuple[float, str]], outer: float) -> None:
    text = " + ".join(f"{weight!r} * {call}" for weight, call in terms)
    made = objective(text)
    assert [weight for weight, _ in made.terms()] == [weight for weight, _ in terms]
    assert repr(objective(repr(made))) == repr(made)
    assert parts(objective(repr(made))) == parts(made)
    nested = outer * (0.5 * made) + made
    assert [part[1:] for part in parts(objective(repr(nested)))] == [part[1:] for part in parts(nested)]
    weights = [weight for weight, *_ in parts(nested)]
    assert [weight for weight, *_ in parts(objective(repr(nested)))] == pytest.approx(weights)


# Refusing


@QUICK
@given(st.text(max_size=30) | st.text(alphabet="kdlabes+*()=1.,'-[]{}:% \n", max_size=30))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    terms, refusal = [], ""
    try:
        terms = parse_sum(text, "objective")
    except RecipeError as error:
        refusal = str(error)
    assert terms or "objective" in refusal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the objective is empty"),
        ("0.9 * kd +", "cannot be read"),
        ("kd - labels", r"'kd - labels' in the objective .* cannot be read\n  expected: a sum of NUMBER"),
        ("-kd", "cannot be read"),
        ("0.9 kd", r"cannot be read: invalid syntax[\s\S]*\^"),
        ("0.9", r"'0.9' .* cannot be read"),
        ("kd * labels", "cannot be read"),
        ("kd / 2", "cannot be read"),
        ("True * kd", "cannot be read"),
        ("kd(temperature=4) kd", "cannot be read"),
        ("kd(temperature=four)", r"'four' .*\n  expected: a number, a schedule, a text in quotes"),
        ("kd(*[4])", "cannot be read"),
        ("kd(**{'temperature': 4})", r"plain arguments, without \*\*"),
        ("kd(temperature=4, temperature=5)", "each argument once"),
        ("kd\0", "cannot be read"),
        ("(" * 500 + "kd" + ")" * 500, "cannot be read"),
        (" + ".join(["kd"] * 5000), "nested too deeply|cannot be read"),
    ],
)
def test_what_is_no_sum_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        objective(text)


HARM = "open({path!r}, 'w')"


@pytest.mark.parametrize(
    "text",
    [
        "{harm}",
        "kd({harm})",
        "kd(temperature={harm})",
        "[{harm} for _ in 'x']",
        "(lambda: {harm})()",
        "kd if {harm} else labels",
        "kd(temperature=f'{{{harm}}}')",
        "__import__('os').system('touch {path}')",
        "().__class__.__base__.__subclasses__()",
        "kd.__init__.__globals__['sys']",
        "os.system('touch {path}')",
        "os.system",
        "builtins.exec('import os')",
        "subprocess.Popen(('touch', '{path}'))",
        "limbeck.objective.Objective",
        "2 ** 9999 * kd",
        "{harm} * kd",
    ],
)
def test_nothing_is_ever_evaluated(text: str, tmp_path: Path) -> None:
    path = str(tmp_path / "harm")
    with pytest.raises((RecipeError, ObjectiveError)):
        objective(text.format(harm=HARM.format(path=path), path=path))
    assert not list(tmp_path.iterdir())


# Building


def test_the_default_objective() -> None:
    made = objective("0.9 * kd(temperature=4) + 0.1 * labels")
    assert repr(made) == "0.9 * kd(temperature=4) + 0.1 * labels"
    assert made.needs() == Needs(soft=frozenset({(kl, 4.0)}), meaning=frozenset({"classes"}), labels=True)
    assert objective(made) is made
    assert repr(objective("1 * kd(2)")) == "kd(temperature=2)"
    assert repr(objective("kd(standardise=False)")) == "kd(temperature=4)", "a switch that is off is not written"
    assert repr(objective("kd(2, standardise=True)")) == "kd(temperature=2, standardise=True)"
    assert objective("kd(standardise=True)").needs() == Needs(logits=True, meaning=frozenset({"classes"}))
    assert objective("kd(temperature=4)").temperature == 4.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kdd", r"no method 'kdd'[\s\S]*did you mean 'kd'\?"),
        ("0.9 * kd + 0.1 * lables", r"did you mean 'labels'\?"),
        ("logitmse", r"did you mean 'logit_mse'\?"),
        ("zzzzzz", r"try: one of: .*kd, labels"),
        ("kd(temprature=4)", r"kd has no argument 'temprature'[\s\S]*> 0[\s\S]*did you mean 'temperature'\?"),
        ("labels(weight=1)", r"labels has no argument 'weight'\n  expected: of:"),
        ("kd(1, 2)", r"kd: too many positional arguments"),
        ("kd(1, temperature=2)", r"kd: multiple values for argument 'temperature'"),
        ("hint('a')", r"hint: missing a required argument: 'teacher_layer'"),
        (
            "kd(temperature=0)",
            r"kd\(temperature=0\): input should be greater than 0\n  expected: temperature: ",
        ),
        ("kd(-1)", r"kd\(temperature=-1\)"),
        ("kd(temperature=1e999)", r"kd\(temperature=inf\)"),
        ("kd(temperature='hot')", r"kd\(temperature='hot'\): .*number"),
        ("kd(temperature=None)", r"kd\(temperature=None\)"),
        ("rkd(angle=-0.5)", r"rkd\(angle=-0.5\): .*greater than or equal to 0"),
        ("hint('', 'b')", r"hint\(student_layer=''\)"),
        ("-1 * kd", r"has the weight -1"),
        ("1e999 * kd", r"has the weight inf"),
        ("nowhere.mine", r"no module 'nowhere', wanted by 'nowhere.mine'"),
        ("limbeck.objectiv.Sum", r"leads nowhere: there is no 'objectiv'"),
        ("limbeck.objective.Summ", r"there is no 'Summ'\n  try: did you mean 'Sum'\?"),
        ("json.JSONDecoder", r"'json.JSONDecoder' is a type, not an objective"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_with_what_to_do(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message) as caught:
        objective(text)
    assert isinstance(caught.value, ObjectiveError)


OUTSIDER = '''
"""An outsider's method: a tenth of the student's logits.

Nobody, 2026. Read: memory.
"""
from limbeck.objective import Needs, Objective

class Tenth(Objective):
    """A share of the sum of the logits."""

    family, formula = "test", "share * sum"

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share {share} is not in (0, 1]")
        self.share = share

    def needs(self) -> Needs:
        return Needs(labels=True, ids=True)

    def forward(self, student, teacher, batch):
        return self.share * student.logits.sum(dim=-1)
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path with an outsider's package; its modules are forgotten afterwards."""
    package = tmp_path / "alembic"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tenth.py").write_text(OUTSIDER)
    (package / "two.py").write_text(OUTSIDER + "\nclass Other(Tenth):\n    pass\n")
    (package / "broken.py").write_text("import alembic_is_not_installed\n")
    (package / "worse.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("alembic"):
            del sys.modules[name]


@pytest.mark.parametrize("path", ["alembic.tenth", "alembic.tenth.Tenth"])
def test_an_outsiders_method_needs_no_registration(outside: Path, path: str) -> None:
    made = objective(f"0.7 * {path}(share=0.5) + 0.3 * kd")
    assert repr(made) == "0.7 * alembic.tenth.Tenth(share=0.5) + 0.3 * kd(temperature=4)"
    assert parts(objective(repr(made))) == parts(made)
    described = card(method(path))
    assert described.name == "alembic.tenth.Tenth"
    assert described.summary == "An outsider's method: a tenth of the student's logits."
    assert [str(argument) for argument in described.arguments] == ["share: number, default 0.1"]
    assert described.needs == ("labels", "row ids")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("alembic.tenth.Tenht", r"did you mean 'Tenth'\?"),
        ("alembic.tent", r"leads nowhere: there is no 'tent'"),
        ("alembic.two", r"defines 2 objective classes[\s\S]*alembic.two.Tenth, alembic.two.Other"),
        ("alembic", r"no method 'alembic'"),
        ("alembic.broken", r"alembic.broken of 'alembic.broken' fails: No module named 'alembic_is_not_installed'"),
        ("alembic.worse.Any", r"fails: ZeroDivisionError: division by zero"),
        ("alembic.tenth(share=2)", r"alembic.tenth cannot be built: share 2 is not in \(0, 1\]"),
        ("alembic.tenth(shape=1)", r"did you mean 'share'\?"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_outsiders_method_is_said(outside: Path, path: str, message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        objective(path)


# Describing


def test_cards_say_what_a_person_wants_to_know() -> None:
    cards = {each.name: each for each in methods()}
    assert list(cards) == names()
    for each in cards.values():
        assert each.summary.endswith(".")
        assert each.details
        assert "Read: " in each.paper
        assert each.needs
    kd = cards["kd"]
    assert (kd.factor, kd.per_row) == ("T²", True)
    assert "1503.02531" in kd.paper
    assert [str(argument) for argument in kd.arguments] == [
        "temperature: number > 0, default 4",
        "standardise: True or False, default False",
    ]
    assert kd.needs == ("a teacher that answers kl at temperature 4",)
    assert str(cards["hint"].arguments[0]) == "student_layer: text (not empty), required"
    assert cards["hint"].needs == ("the teacher's layer TEACHER_LAYER", "the student's layer STUDENT_LAYER")
    assert cards["rkd"].needs == ("the teacher's logits", "batches of at least 3 rows")
    assert not cards["rkd"].per_row
    assert needs_in_words(Needs()) == ("nothing",)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (float, "number"),
        (int, "whole number"),
        (Annotated[int, Ge(1), Le(9)], "whole number >= 1 <= 9"),
        (Annotated[float, Gt(0), Lt(float("inf"))], "number > 0"),
        (Annotated[float, Interval(ge=0, lt=1)], "number >= 0 < 1"),
        (Literal["mean", "sum"], "'mean' or 'sum'"),
        (str | None, "text or None"),
        (bool, "True or False"),
        (tuple[str, ...], "several of: text"),
        (inspect.Parameter.empty, "anything"),
        (Objective, "Objective"),
    ],
)
def test_kinds_and_ranges_in_words(annotation: object, words: str) -> None:
    assert kind_in_words(annotation) == words
