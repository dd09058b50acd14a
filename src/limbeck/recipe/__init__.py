"""Recipes: what `distill`, `chain` and `compare` shall do, as a YAML file that is checked before anything is loaded."""

from limbeck.recipe.comparing import Comparison
from limbeck.recipe.data import Columns, DataSpec, Tokens, Windows
from limbeck.recipe.reasoning import Reasoning
from limbeck.recipe.schema import Link, Member, Recipe
from limbeck.recipe.speaking import Generations, OwnText
from limbeck.recipe.training import TrainingSpec

__all__ = [
    "Columns",
    "Comparison",
    "DataSpec",
    "Generations",
    "Link",
    "Member",
    "OwnText",
    "Reasoning",
    "Recipe",
    "Tokens",
    "TrainingSpec",
    "Windows",
]
