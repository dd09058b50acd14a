"""Quantities as people write them, `5 ms`, `500kB`, `0.07W`, `0.30 EUR/kWh`; strict, errors name the nearest unit."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from limbeck.errors import RecipeError, did_you_mean

_NUMBER = r"(?P<number>\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)"
_QUANTITY = re.compile(rf"\s*{_NUMBER}\s*(?P<unit>[^\s\d].*?)?\s*", re.IGNORECASE)
_PRICE = re.compile(rf"\s*{_NUMBER}\s*(?P<currency>[A-Z]{{3}})\s*/\s*(?P<unit>.+?)\s*")

UNITS: Mapping[str, Mapping[str, float]] = {
    "time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0},
    "size": {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3},
    "count": {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9},
    "rate": {"/s": 1.0},
    "power": {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "µW": 1e-6, "kW": 1e3},
    "energy": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "Wh": 3600.0, "kWh": 3.6e6},
    "carbon intensity": {"g/kWh": 1.0, "kg/kWh": 1e3},
}
"""The units of each kind of quantity, and how many of the first one they are."""

PRICED = {"h": "an hour of the device", "kWh": "energy", "answer": "one answer", "million": "a million answers"}


@dataclass(frozen=True)
class Price:
    """So much money for one of something.

    Args:
        amount: In the currency.
        currency: Three capital letters.
        per: One of `PRICED`.
    """

    amount: float
    currency: str
    per: str


def quantity(text: str, kind: str) -> float:
    """A number in the first unit of its kind.

    Args:
        text: Such as `5 ms`.
        kind: One of `UNITS`.

    Raises:
        RecipeError: When it is no number with a unit of that kind.
    """
    units = UNITS[kind]
    example = f"a {kind} such as 5{next(iter(units))}"
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise RecipeError(f"{text!r} is no {kind}", expected=example)
    unit = found["unit"] or ""
    if unit not in units:
        near = did_you_mean(unit, [each for each in units if each]) if unit else example
        raise RecipeError(f"{text!r} has {f'a unit {unit!r}' if unit else 'no unit'}", expected=example, remedy=near)
    value = float(found["number"]) * units[unit]
    if not math.isfinite(value):
        raise RecipeError(f"{text!r} is no finite number", expected=example)
    return value


def unit_of(text: str) -> str:
    """The unit in which a quantity is written; empty for a bare number."""
    found = _QUANTITY.fullmatch(text)
    return "" if found is None else found["unit"] or ""


def price(text: str) -> Price:
    """An amount of money for one of something, such as `0.30 EUR/kWh`.

    Raises:
        RecipeError: When it is none.
    """
    example = "AMOUNT CURRENCY/UNIT such as '0.30 EUR/kWh', with h, kWh, answer or million for the unit"
    found = _PRICE.fullmatch(text)
    if found is None:
        raise RecipeError(f"{text!r} is no price", expected=example)
    if found["unit"] not in PRICED:
        raise RecipeError(
            f"{text!r} is a price for {found['unit']!r}", expected=example, remedy=did_you_mean(found["unit"], PRICED)
        )
    return Price(float(found["number"]), found["currency"], found["unit"])
