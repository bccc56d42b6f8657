from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import scgeoae

if TYPE_CHECKING:
    from anndata import AnnData


def test_grows_with_the_radius(mapped: AnnData) -> None:
    small, large = (scgeoae.get.nonlinearity(mapped, radius=radius) for radius in (0.01, 5))
    assert small.shape == (700,)
    assert (small < 0.02).all()
    assert (small < large).all()
    assert scgeoae.get.nonlinearity(mapped, np.zeros((0, 2)), radius=1).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius": 0}, "radius"),
        ({"radius": np.nan}, "radius"),
        ({"radius": np.inf}, "radius"),
        ({"radius": 1, "dimensions": (0, 2)}, "dimensions"),
        ({"radius": 1, "dimensions": (1, 1)}, "dimensions"),
        ({"radius": 1, "points": np.zeros((2, 3))}, "points"),
    ],
)
def test_bad_input(mapped: AnnData, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scgeoae.get.nonlinearity(mapped, **arguments)
