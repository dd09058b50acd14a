"""Train, validation and test rows from a source's own splits: at random, by group, or by time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from limbeck.data.rows import TensorRows
from limbeck.data.splits import chosen
from limbeck.errors import DataError, did_you_mean
from limbeck.replay import Draw

Part: TypeAlias = float | int | Sequence[str]
"""How much of the train rows (or groups) a split takes: a share, a count, or the groups by name."""

_OWN_SHARE = 0.1


@dataclass(frozen=True)
class Partition:
    """How rows are divided.

    Args:
        how: "random", "groups" or "time".
        seed: Decides which rows or groups are taken; time needs none.
        strata: From rows to a number for each, in proportion to which a random split is made.
        groups: Names of the groups by their number.
        times: For rows split by time, the begin and end of each train row in seconds.
        what: What is divided, for sentences.
    """

    how: Literal["random", "groups", "time"]
    seed: int
    strata: Callable[[TensorRows], Int[Tensor, " rows"]]
    groups: Sequence[str] = ()
    times: tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]] | None = None
    what: str = "rows"
    said: dict[str, str] = field(default_factory=dict)

    def divide(self, own: Mapping[str, TensorRows], asked: Mapping[str, Part | None]) -> dict[str, TensorRows]:
        """Takes validation and test rows from a source's own splits, or from its train rows where it has none.

        What was done is kept in `said`, a sentence for each split.

        Args:
            own: The source's splits; "train" is among them.
            asked: How much for each split, in the order in which they are taken; None takes the source's own rows, or
                a tenth.

        Raises:
            DataError: When a split would be empty, or leaves no row to train on.
        """
        rows: dict[str, TensorRows] = {}
        train = own["train"]
        places = torch.arange(len(train))
        for name, part in asked.items():
            if name in own:
                rows[name] = self._of_its_own(own[name], part, name)
                continue
            take = {"random": self._random, "groups": self._groups, "time": self._time}[self.how]
            taken, left = take(own["train"], places, _OWN_SHARE if part is None else part, name)
            if not len(left):
                raise DataError(
                    f"{name}={part} leaves no row to train on: there are {len(places)}",
                    expected="some rows left for training",
                )
            rows[name], places = own["train"].select(taken), left
        return {**rows, "train": train if len(places) == len(train) else train.select(places)}

    def _of_its_own(self, rows: TensorRows, part: Part | None, name: str) -> TensorRows:
        if part is None:
            self.said[name] = f"own {self.what}"
            return rows
        count = _count(part, len(rows), name, what=self.what)
        strata = self.strata(rows)
        picked = chosen(rows.ids, strata, count, seed=self.seed, name=name)
        self.said[name] = f"{count} of its own {len(rows)} {self.what}{_stratified(strata)}"
        return rows.select(picked.nonzero().squeeze(1))

    def _random(self, train: TensorRows, places: Tensor, part: Part, name: str) -> tuple[Tensor, Tensor]:
        left = train.select(places)
        count = _count(part, len(train), name, what=self.what)
        if count >= len(left):
            raise DataError(
                f"{name}={part} leaves no row to train on: {len(left)} of {len(train)} {self.what} are there to take "
                "from",
                expected=f"fewer than {len(left)} {self.what} for {name}",
            )
        strata = self.strata(left)
        picked = chosen(left.ids, strata, count, seed=self.seed, name=name)
        self.said[name] = f"{count} of the {len(train)} train {self.what}{_stratified(strata)}"
        return places[picked], places[~picked]

    def _groups(self, train: TensorRows, places: Tensor, part: Part, name: str) -> tuple[Tensor, Tensor]:
        if train.groups is None:
            raise DataError("the rows have no groups to split by", remedy="name their column: columns: {group: NAME}")
        here = train.groups[places]
        whole, present = torch.unique(train.groups), torch.unique(here)
        if isinstance(part, int | float):
            count = _count(part, len(whole), name, what="groups")
            if count >= len(present):
                raise DataError(f"{name}={part} leaves no group to train on: there are {len(present)}")
            rank = Draw.of(present, self.seed, name=f"split {name}").words(1)[0]
            numbers = present[torch.argsort(rank, stable=True)[:count]]
        else:
            numbers = torch.tensor([self._number(group, present, name) for group in part])
        picked = torch.isin(here, numbers)
        names = ", ".join(sorted(self.groups[int(number)] for number in numbers))
        self.said[name] = f"{int(picked.sum())} of the {len(train)} train {self.what}: the groups {names}"
        return places[picked], places[~picked]

    def _number(self, group: str, present: Tensor, name: str) -> int:
        there = [self.groups[int(number)] for number in present]
        if group not in there:
            raise DataError(
                f"{name} names the group {group!r}, which has no rows here", remedy=did_you_mean(group, there)
            )
        return list(self.groups).index(group)

    def _time(self, train: TensorRows, places: Tensor, part: Part, name: str) -> tuple[Tensor, Tensor]:
        """The last rows; of each group, where there are groups. Rows that reach across the boundary leave both."""
        if self.times is None:
            raise DataError("the rows have no time to split by", remedy="name its column: columns: {time: NAME}")
        begin, end = (moment[places] for moment in self.times)
        group = torch.zeros(len(places), dtype=torch.int64) if train.groups is None else train.groups[places]
        count = _count(part, len(train), name, what=self.what)
        if count >= len(places):
            raise DataError(f"{name}={part} leaves no row to train on: there are {len(places)}")
        share = count / len(places)
        after, before = torch.zeros(len(places), dtype=torch.bool), torch.zeros(len(places), dtype=torch.bool)
        for number in torch.unique(group):
            mine = group == number
            boundary = torch.sort(begin[mine]).values[-max(1, round(share * int(mine.sum())))]
            after |= mine & (begin >= boundary)
            before |= mine & (end < boundary)
        _check_any(after, name)
        across = int((~after & ~before).sum())
        across_words = f"{across} that reach across the boundary left out"
        self.said[name] = f"the last {int(after.sum())} {self.what} by time; {across_words}"
        return places[after], places[before]


def _stratified(strata: Int[Tensor, " rows"]) -> str:
    return ", stratified" if len(torch.unique(strata)) > 1 else ""


def _check_any(picked: Bool[Tensor, " rows"], name: str) -> None:
    if not bool(picked.any()):
        raise DataError(f"{name} would be an empty split", expected="at least one row")


def _count(amount: Part, rows: int, name: str, *, what: str = "rows") -> int:
    if not isinstance(amount, int | float):
        raise DataError(
            f"{name} names groups ({', '.join(amount)}), and the rows are not split by group",
            remedy="columns: {group: NAME} says which column that is",
        )
    share = type(amount) is float
    count = (
        max(1, round(amount * rows)) if what == "groups" and share else round(amount * rows) if share else int(amount)
    )
    if type(amount) is bool or not 0 < count <= rows or (share and amount >= 1):
        raise DataError(
            f"{name}={amount} of {rows} {what} is an empty split or more than there is",
            expected=f"a share above 0 and below 1 that gives at least one, or a number of {what} from 1 to {rows}",
        )
    return count
