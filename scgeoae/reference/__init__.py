"""What makes new cells comparable with a reference: the recipe of its input, its novelty, its labels; the model."""

from .labels import labeling, tile_labels
from .model import MapModel, from_state, to_state, with_lens
from .projection import Projection
from .query import place, projected, query_of, reference_rows
from .recipe import InputRecipe, recipe_of
from .velocity import velocities_of

__all__ = [
    "InputRecipe",
    "MapModel",
    "Projection",
    "from_state",
    "labeling",
    "place",
    "projected",
    "query_of",
    "recipe_of",
    "reference_rows",
    "tile_labels",
    "to_state",
    "velocities_of",
    "with_lens",
]
