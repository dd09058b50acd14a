"""Recipes: what `distill` and `chain` shall do, as a YAML file that is checked before anything is loaded."""

from limbeck.recipe.schema import DataSpec, Link, Member, Recipe, TrainingSpec

__all__ = ["DataSpec", "Link", "Member", "Recipe", "TrainingSpec"]
