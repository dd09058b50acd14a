"""The equations of a text: found where they are, evaluated exactly, and never run."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.arithmetic import equations, evaluated, quantities, spelled

FOUND = {
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.": [True, True],
    "5 km + 3 km = 8 km": [True],
    "x = 12 / 3 = 4": [True],
    "$18 * 3 = $54.": [True],
    "20% of 50 = 10": [True],
    "- 5+3=8": [True],  # a bullet, and no sign
    "-5 + 3 = -2": [True],
    "2/3=0.67": [True],  # rounded in its last decimal
    "2/3=0.66": [False],
    "7/2=4": [False],  # a whole number is not rounded
    "7/2=3.5": [True],
    "1,200 + 30 = 1230": [True],
    "1,200 + 30 = 1,231": [False],
    "5 plus 3 = 9": [False],
    "6 times 7 = 42, then 42 minus 2 = 40": [True, True],
    "2(3+4)=14": [True],
    "5/0=0": [False],
    "12/60 = $.2": [True],
    "0.1 + 0.2 = 0.3": [True],
    "007 + 1 = 8": [True],
    "50 - 5 - 3 = 42 and 6": [True],
    "10-2=6": [False],
    "5*2=10=11": [True, False],
    "60 students x 2/3 = 40 students": [True],
    "100 - 20 = 80%": [True],
    "3 men + 4 children = 7 people": [True],
    "16 - 3 - 4 = 9 eggs\n9*2=18": [True, True],
    # Units of measure are not mixed, and one is not taken for another.
    "5 km + 3 m = 8 km": [False],
    "5 km + 3 km = 8 m": [False],
    # What turns one unit into another says nothing about numbers.
    "2 hours + 30 minutes = 150 minutes": [],
    "42 minutes = 42/60 hours": [],
    # Nothing is calculated, or something is unknown.
    "a = 5": [],
    "5 = 5": [],
    "3x + 2 = 14": [],
    "200 = (5/4)x": [],
    "S + 143 = 200 - 16 = 184": [True],
    "143 = 200 - x": [],
    "9**9**9=1": [],
    "Nobody calculates here.": [],
    "": [],
}


@pytest.mark.parametrize("text", FOUND)
def test_equations_worked_out_by_hand(text: str) -> None:
    assert [each.right for each in equations(text)] == FOUND[text]


def test_what_is_wrong_is_said() -> None:
    (wrong,) = equations("7/2=4")
    assert (wrong.text, wrong.why) == ("7 / 2 = 4", "7 / 2 is 3.5")
    assert equations("5/0=0")[0].why == "divides by zero"
    assert equations("5 km + 3 m = 8 km")[0].why == "km and m are taken for one"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#### 72", ["72"]),
        ("72 clips, -5 and 3/4 cup", ["72 clip", "-5", "0.75 cup"]),
        ("$1,200.50", ["1200.5 dollar"]),
        ("12 boxes of 3 berries", ["12", "3 berry"]),
        ("5 / 0", ["5", "0"]),
        ("50%", ["0.5"]),
        ("one", []),
    ],
)
def test_quantities_by_hand(text: str, found: list[str]) -> None:
    assert [str(each) for each in quantities(text)] == found


def test_the_same_quantity_has_the_same_unit_of_measure_where_both_say_one() -> None:
    def of(text: str):
        (found,) = quantities(text)
        return found

    assert of("5").same(of("5 km")) and of("5 kids").same(of("5 children")) and of("$5").same(of("5 dollars"))
    assert not of("5 km").same(of("5 m")) and not of("5").same(of("6"))


def test_nothing_is_run() -> None:
    for text in (
        "__import__('os')",
        "(lambda: 1)()",
        "1 if 1 else 2",
        "'a' * 3",
        "[1][0]",
        "1 and 2",
        "True + 1",
        "2j",
    ):
        assert evaluated(text) is None
    assert evaluated("1" * 400) is None
    assert evaluated("(" * 200 + "1" + ")" * 200) is None
    assert evaluated("9 ** 999999999") is None
    assert evaluated("2 ** 16") == 65536 and evaluated("2 ** 17") is None
    assert evaluated("0 ** (0 - 1)") is None


WHOLE = st.integers(0, 10**6)
SIGNS = {"+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__}
TREES = st.recursive(
    WHOLE.map(lambda number: (str(number), Fraction(number))),
    lambda inner: (
        st.tuples(inner, st.sampled_from(sorted(SIGNS)), inner)
        .filter(lambda found: found[1] != "/" or found[2][1] != 0)
        .map(lambda found: (f"({found[0][0]} {found[1]} {found[2][0]})", SIGNS[found[1]](found[0][1], found[2][1])))
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_expressions_are_what_their_parts_are(tree: tuple[str, Fraction]) -> None:
    assert evaluated(tree[0]) == tree[1]
    assert evaluated(spelled(tree[1])) == tree[1]


@settings(max_examples=60, deadline=None)
@given(WHOLE, st.sampled_from("+-*"), WHOLE, st.integers(-3, 3))
def test_an_equation_is_right_where_its_sides_are_equal(one: int, sign: str, other: int, off: int) -> None:
    result = {"+": one + other, "-": one - other, "*": one * other}[sign] + off
    for text in (
        f"{one}{sign}{other}={result}",
        f"So there are {one} {sign} {other} = {result} of them.",
        f"She has {one} pens {sign} {other} pens = {result} pens, and 7 dogs.",
        f"It is <<{one}{sign}{other}={result}>>.",
    ):
        (found,) = equations(text)
        assert found.right == (off == 0)


@settings(max_examples=60, deadline=None)
@given(WHOLE, st.integers(1, 10**6), st.integers(1, 6))
def test_a_decimal_may_be_rounded_in_its_last_place_alone(one: int, other: int, places: int) -> None:
    exact = Fraction(one, other)
    shown = Fraction(round(exact * 10**places), 10**places)
    digits = str(round(exact * 10**places)).rjust(places + 1, "0")
    (right,) = equations(f"{one}/{other} = {digits[:-places]}.{digits[-places:]}")
    further = str(int(digits) + 1).rjust(places + 1, "0")
    (wrong,) = equations(f"{one}/{other} = {further[:-places]}.{further[-places:]}")
    half = abs(shown + Fraction(1, 10**places) - exact) == Fraction(1, 2 * 10**places)
    assert right.right and wrong.right == half


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="0123456789+-*/=()x .,%$km<>#\n", max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    for each in equations(text):
        assert each.right == (each.why == "")
    quantities(text)
