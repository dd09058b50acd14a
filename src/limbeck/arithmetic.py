"""The equations that a text contains, evaluated exactly, and the numbers it names; nothing is ever run.

An equation is two sides of numbers and signs with = between them, `48 / 2 = 24`, of which one at least calculates.
A word may stand after a number as its unit, and `times`, `plus`, `minus`, `of`, `x`, `divided by` for signs. A side in
which a letter or a word stands for a number is no side. The annotations
<<48/2=24>> of GSM8K (Cobbe et al., 2021, https://arxiv.org/abs/2110.14168, section 2; read: memory) count as well.
Numbers are fractions, so 0.1 + 0.2 is 0.3. A result with decimals may be rounded in its last one; a whole one may not.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

_DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+|\.\d+|\d+"
_TOKEN = re.compile(
    rf"(?P<number>(?:[$€£¥] ?)?(?:{_DIGITS})(?!\d)(?: ?%)?)"
    r"|(?P<sign>\*\*|//|[-+*/×÷·^()=−–])"
    r"|(?P<word>[^\W\d_]+(?:[-'’][^\W\d_]+)*)"
    r"|(?P<space>[ \t]+)|(?P<other>.|\n)"
)
_SIGNS = {"×": "*", "·": "*", "÷": "/", "^": "**", "−": "-", "–": "-"}
_SPOKEN = {"x": "*", "times": "*", "plus": "+", "minus": "-", "of": "*", "over": "/"}
_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_BULLET = re.compile(r"^\s*[-*•–]\s+", re.MULTILINE)
_CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen"}
# A single letter behind a number is a quantity nobody knows yet, unless it is one of these.
_UNIT_LETTERS = "mglhsL"
# Units in which a thing is measured; other words count things, and 3 men + 4 children = 7 people.
_MEASURES = frozenset(
    "dollar euro pound yen cent second minute hour day week month year mm cm m km meter metre kilometer kilometre mile "
    "inch foot feet yard mg g kg gram kilogram ounce ml l liter litre gallon cup pint quart degree percent mph".split()
)
_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda one, other: Fraction(one // other),
}
# What nobody writes into a step; without bounds 9**9**9 would be calculated.
_LONGEST, _DEEPEST, _LARGEST_POWER = 300, 40, 16


@dataclass(frozen=True)
class Equation:
    """Two sides that are said to be equal.

    Args:
        text: As it was read.
        right: Whether they are.
        why: Where they are not: what the left side is, or which units differ.
    """

    text: str
    right: bool
    why: str = ""


@dataclass(frozen=True)
class Quantity:
    """A number with what stands beside it: `unit` in the singular and small letters, empty where none is said."""

    value: Fraction
    unit: str = ""

    def __str__(self) -> str:
        return f"{spelled(self.value)}{' ' if self.unit else ''}{self.unit}"

    def same(self, other: "Quantity") -> bool:
        """Whether the numbers are equal, and the units of measure where both say one."""
        return self.value == other.value and len({self.unit, other.unit} & _MEASURES) < 2


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    unit: str = ""


def equations(text: str) -> list[Equation]:
    """The equations of a text in their order; one that stands annotated and written out counts twice."""
    found = [each for inner in _ANNOTATION.findall(text) for each in _equations(inner)]
    return found + list(_equations(_ANNOTATION.sub("", text)))


def quantities(text: str) -> list[Quantity]:
    """The numbers of a text with the words after them; 3/4 is one number, 5 / 2 = 2.5 are three."""
    found: list[Quantity] = []
    tokens = list(_tokens(text))
    for place, token in enumerate(tokens):
        if token.kind != "number":
            continue
        value = _value(token.text)
        before = tokens[place - 1].text if place else ""
        if before == "-" and (place < 2 or tokens[place - 2].kind != "number"):
            value = -value
        over = [each.text for each in tokens[place + 1 : place + 3]]
        if over[:1] == ["/"] and len(over) == 2 and tokens[place + 2].kind == "number" and _value(over[1]):
            found.append(Quantity(value / _value(over[1]), tokens[place + 2].unit))
        elif before == "/" and value and place > 1 and tokens[place - 2].kind == "number":
            continue  # it was the lower half
        else:
            found.append(Quantity(value, token.unit))
    return found


def evaluated(expression: str) -> Fraction | None:
    """What an expression of numbers, + - * / // ** and brackets is; None where it is none, or too large.

    Dividing by zero gives None as well.
    """
    if len(expression) > _LONGEST:
        return None
    try:
        return _evaluated(ast.parse(expression, mode="eval").body, 0)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError, OverflowError):
        return None


def spelled(value: Fraction) -> str:
    """A number as a person writes it: 24, 0.5 or, where decimals do not end, 1/3."""
    if value.denominator == 1:
        return str(value.numerator)
    for places in range(1, 7):
        scaled = value * 10**places
        if scaled.denominator == 1:
            sign, digits = "-" * (value < 0), str(abs(scaled.numerator)).rjust(places + 1, "0")
            return f"{sign}{digits[:-places]}.{digits[-places:]}"
    return f"{value.numerator}/{value.denominator}"


def _equations(text: str) -> Iterator[Equation]:
    for run in _runs(list(_tokens(_BULLET.sub("", text)))):
        sides: list[list[_Token]] = [[]]
        for token in run:
            if token.text == "=":
                sides.append([])
            else:
                sides[-1].append(token)
        for place, (left, right) in enumerate(pairwise(sides)):
            found = _equation(left, right) if any(map(_calculates, sides[: place + 2])) else None
            if found is not None:
                yield found


def _equation(left: Sequence[_Token], right: Sequence[_Token]) -> Equation | None:
    """Two sides; None where one is no expression, or one unit is turned into another."""
    ours, theirs = _expression(left), _expression(right)
    one, other = evaluated(ours), evaluated(theirs)
    if one is None or other is None:
        zero = any(re.search(r"/\s*0(?![\d.])", side) for side in (ours, theirs))
        return Equation(f"{ours} = {theirs}", False, "divides by zero") if zero and ours and theirs else None
    text = f"{ours} = {theirs}"
    units = {token.unit for token in (*left, *right)} & _MEASURES
    mixed = len(units) > 1
    alike = abs(one - other) <= max(_slack(left), _slack(right))
    # 100 - 20 = 80% is how people write it.
    if not alike and not (len(right) == 1 and "%" in right[0].text and one == 100 * other):
        return None if mixed else Equation(text, False, f"{ours} is {spelled(one)}")
    if mixed and _adds(left) and _adds(right):
        return Equation(text, False, f"{' and '.join(sorted(units))} are taken for one")
    return Equation(text, True)


def _runs(tokens: list[_Token]) -> Iterator[list[_Token]]:
    """Stretches of numbers and signs with = among them, without a side that lacks a number at the run's edge."""
    run: list[_Token] = []
    unknown = False  # whether a word stands where the run's first number would
    for token in [*tokens, _Token("other", "")]:
        # Two numbers beside each other are two things: the second begins anew.
        beside = token.kind == "number" and run and run[-1].kind == "number"
        if token.kind == "other" or beside:
            letter = len(token.text) == 1 and token.text.isalpha()
            yield from _whole(run, unknown, run[-1:] != [] and run[-1].text == ")" and letter)
            run, unknown = [], token.text[:1].isalpha()
        if token.kind != "other":
            run.append(token)


def _whole(run: list[_Token], unknown: bool, goes_on: bool) -> Iterator[list[_Token]]:
    cuts = [place for place, token in enumerate(run) if token.text == "="]
    if not cuts:
        return
    first = unknown and (run[0].kind == "sign" and run[0].text not in "(=")
    last = goes_on or (run[-1].kind == "sign" and run[-1].text not in ")=")
    found = run[cuts[0] if first else 0 : cuts[-1] if last else len(run)]
    if any(token.text == "=" for token in found):
        yield found


def _tokens(text: str) -> Iterator[_Token]:
    """Numbers with their units, signs, and whatever breaks a run; a unit that no sign follows breaks it behind."""
    found = [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(text.replace("divided by", "÷"))]
    found = [pair for pair in found if pair[0] != "space"]
    found = [_sign(found, place) or pair for place, pair in enumerate(found)]
    place = 0
    while place < len(found):
        kind, said = found[place]
        place += 1
        if kind == "sign":
            yield _Token("sign", _SIGNS.get(said, said))
        elif kind == "number":
            unit = next((name for sign, name in _CURRENCIES.items() if said.startswith(sign)), "")
            word, after = [*found[place : place + 2], ("end", ""), ("end", "")][:2]
            number = said.strip("$€£¥ ")
            if word[0] != "word":
                yield _Token("number", number, unit)
                continue
            place += 1
            if len(word[1]) == 1 and word[1] not in _UNIT_LETTERS:
                yield _Token("other", word[1])
            else:
                follows = after[0] == "sign" and after[1] != "("
                # Of several words nobody knows which one is the unit.
                sure = follows or after[0] in ("other", "end")
                yield _Token("number", number, unit or (_singular(word[1]) if sure else ""))
                if not follows:
                    yield _Token("other", "")
        else:
            yield _Token("other", said)


def _sign(found: Sequence[tuple[str, str]], place: int) -> tuple[str, str] | None:
    """The sign for which a word between two numbers stands; a unit may stand between, but not before `of`."""
    said = _SPOKEN.get(found[place][1].lower())
    if said is None or not 0 < place < len(found) - 1:
        return None
    before, after = found[place - 1], found[place + 1]
    stands = before[0] == "number" or before[1] == ")" or (before[0] == "word" and found[place][1].lower() != "of")
    return ("sign", said) if stands and (after[0] == "number" or after[1] == "(") else None


def _singular(word: str) -> str:
    low = word.lower()
    if len(low) > 4 and low.endswith("ies"):
        return f"{low[:-3]}y"
    if low.endswith(("xes", "ches", "shes", "sses")):
        return low[:-2]
    return low[:-1] if len(low) > 3 and low.endswith("s") and not low.endswith("ss") else low


def _expression(side: Sequence[_Token]) -> str:
    """A side as Python writes it; 2(3) is a product."""
    parts: list[str] = []
    for token in side:
        said = f"({spelled(_value(token.text))})" if "%" in token.text else token.text.replace(",", "")
        # Python reads no number that begins with zeros.
        said = said.lstrip("0") or "0" if token.kind == "number" and said.isdigit() else said
        if parts and (said[0] == "(" and (parts[-1][-1].isdigit() or parts[-1][-1] == ")")):
            parts.append("*")
        parts.append(said)
    return " ".join(parts)


def _value(number: str) -> Fraction:
    plain = Fraction(number.replace(",", "").replace("%", "").strip())
    return plain / 100 if "%" in number else plain


def _calculates(side: Sequence[_Token]) -> int:
    """How many signs stand between two numbers."""
    return sum(token.kind == "sign" and token.text not in "()" for token in side[1:])


def _adds(side: Sequence[_Token]) -> bool:
    return all(token.kind == "number" or token.text in ("+", "-", "(", ")") for token in side)


def _slack(side: Sequence[_Token]) -> Fraction:
    """Half of the last decimal of a side that is a number with decimals; nothing else may be rounded."""
    if len(side) != 1 or "." not in side[0].text:
        return Fraction(0)
    decimals = len(side[0].text.rstrip("% ").partition(".")[2])
    return Fraction(1, 2 * 10**decimals) / (100 if "%" in side[0].text else 1)


def _evaluated(node: ast.expr, depth: int) -> Fraction | None:
    if depth > _DEEPEST:
        raise ValueError
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _evaluated(node.operand, depth + 1)
        return None if inner is None else -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        one, other = _evaluated(node.left, depth + 1), _evaluated(node.right, depth + 1)
        if one is None or other is None:
            return None
        if isinstance(node.op, ast.Pow):
            whole = other.denominator == 1 and abs(other) <= _LARGEST_POWER and abs(one) < 10**9
            return one ** int(other) if whole else None
        if (operation := _OPERATIONS.get(type(node.op))) is not None:
            return operation(one, other)
    return None
