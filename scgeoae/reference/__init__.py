"""What makes new cells comparable with a reference: the recipe of its input, its novelty, its labels; the model."""

from .labels import Labeling, labeling, tile_labels, without
from .model import MapModel, from_state, to_state, with_lens
from .projection import Projection
from .query import input_of, place, projected, query_of
from .recipe import InputRecipe, recipe_of
from .velocity import velocities_of

__all__ = [
    "InputRecipe",
    "Labeling",
    "MapModel",
    "Projection",
    "from_state",
    "input_of",
    "labeling",
    "place",
    "projected",
    "query_of",
    "recipe_of",
    "tile_labels",
    "to_state",
    "velocities_of",
    "with_lens",
    "without",
]
