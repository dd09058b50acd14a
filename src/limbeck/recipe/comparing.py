"""The `compare` of a recipe: methods that are held against each other with one teacher, one recording, one student."""

from pathlib import Path

from pydantic import Field, model_validator

from limbeck.recipe import spellings
from limbeck.recipe.data import Strict


class Comparison(Strict):
    """Which methods are compared, and over how many seeds.

    Attributes:
        methods: An objective under a name of its own for each; the names become folders and rows of the table.
        baseline: The method the others are held against besides the student alone; None is the first.
        seeds: Seeds of every method, from the recipe's `seed` on, 2 or more.
        leaders: How many methods, best on validation rows, go on to `leader_seeds`; 0 for none.
        leader_seeds: Seeds of the leaders, the first `seeds` among them.
        results: A Markdown file for the table, written anew from the run files; None for `methods.md` in the folder.
    """

    methods: dict[spellings.RunName, spellings.ObjectiveText] = Field(min_length=2)
    baseline: str | None = None
    seeds: int = Field(default=3, ge=2)
    leaders: int = Field(default=6, ge=0)
    leader_seeds: int = Field(default=10, ge=2)
    results: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> "Comparison":
        if self.baseline is not None and self.baseline not in self.methods:
            raise spellings.wrong(
                f"the baseline {self.baseline!r} is not among the methods", f"one of {', '.join(self.methods)}"
            )
        if self.leaders and self.leader_seeds < self.seeds:
            raise spellings.wrong(
                "the leaders have fewer seeds than the others", f"leader_seeds of {self.seeds} or more"
            )
        return self

    @property
    def against(self) -> str:
        """The name of the method that the others are held against."""
        return self.baseline or next(iter(self.methods))
