"""What answers cost in money, from prices that a person names; none is known here."""

from dataclasses import dataclass

from limbeck.errors import RecipeError
from limbeck.expenditure.quantities import Price, price

MILLION = 1e6


@dataclass(frozen=True)
class Bill:
    """A million answers.

    Args:
        million: In the currency.
        currency: Three letters.
        parts: The same by what is paid for.
        basis: How it was worked out, and what is not in it.
    """

    million: float
    currency: str
    parts: dict[str, float]
    basis: str


@dataclass(frozen=True)
class Prices:
    """What a person says that things cost, all in one currency.

    Args:
        hour: Of the device.
        energy: Of a kilowatt-hour.
        training: Of an hour of the machine that trains.
        teacher: Of an answer of the teacher, or of an hour of the machine that it runs on.
    """

    hour: Price | None = None
    energy: Price | None = None
    training: Price | None = None
    teacher: Price | None = None

    @classmethod
    def read(cls, device: list[str], training: str | None, teacher: str | None) -> "Prices":
        """From what a person wrote.

        Raises:
            RecipeError: When one is no price, is for another thing than it is asked for, or the currencies differ.
        """
        found: dict[str, Price] = {}
        for text in device:
            said = price(text)
            place = {"h": "hour", "kWh": "energy"}.get(said.per)
            if place is None or place in found:
                raise RecipeError(f"--price {text!r}", expected="one for h, one for kWh; --teacher-price for an answer")
            found[place] = said
        for place, asked, units in (("training", training, {"h"}), ("teacher", teacher, {"h", "answer", "million"})):
            if asked is not None:
                found[place] = price(asked)
                if found[place].per not in units:
                    raise RecipeError(
                        f"--{place}-price {asked!r}", expected=f"a price for {' or '.join(sorted(units))}"
                    )
        currencies = sorted({each.currency for each in found.values()})
        if len(currencies) > 1:
            raise RecipeError(f"prices in {' and '.join(currencies)}", expected="all in one currency")
        return cls(**found)

    def bill(self, seconds: float, joules: float | None) -> Bill | None:
        """A million answers, one after the other; None where no price of the device was named.

        Args:
            seconds: Of one answer.
            joules: Of one answer; None where they are not known.
        """
        parts: dict[str, float] = {}
        if self.hour is not None:
            parts["the device's time"] = self.hour.amount * seconds * MILLION / 3600
        if self.energy is not None and joules is not None:
            parts["energy"] = self.energy.amount * joules * MILLION / 3.6e6
        named = self.hour or self.energy
        if named is None or not parts:
            return None
        left_out = "" if self.energy is None or joules is not None else "; energy is not in it, for it is not known"
        basis = f"prices as given, for the median time of an answer; a device that waits is not in it{left_out}"
        return Bill(sum(parts.values()), named.currency, parts, basis)

    def of_teacher(self, seconds: float) -> float:
        """An answer of the teacher, by itself or by the hour."""
        assert self.teacher is not None
        shares = {"answer": 1.0, "million": 1 / MILLION, "h": seconds / 3600}
        return self.teacher.amount * shares[self.teacher.per]
