"""What makes new cells comparable with a reference: the recipe of its input, its novelty, its labels; the model."""

from .labels import Labeling, labeling, tile_labels, without
from .model import MapModel, bent_by, from_state, to_state, with_readout
from .neighbors import placed_by_neighbors
from .projection import Projection
from .query import input_of, place, projected, query_of
from .readout import Bend, Readout, Space, readout_of
from .recipe import InputRecipe, recipe_of
from .velocity import velocities_of

__all__ = [
    "Bend",
    "InputRecipe",
    "Labeling",
    "MapModel",
    "Projection",
    "Readout",
    "Space",
    "bent_by",
    "from_state",
    "input_of",
    "labeling",
    "place",
    "placed_by_neighbors",
    "projected",
    "query_of",
    "readout_of",
    "recipe_of",
    "tile_labels",
    "to_state",
    "velocities_of",
    "with_readout",
    "without",
]
