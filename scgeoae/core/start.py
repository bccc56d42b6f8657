"""Starts: what a network is before its first step.

To add one, write a function that changes the network in place and list it in `STARTS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .autoencoder import GeometricAutoencoder
    from .rows import Rows


def random(network: GeometricAutoencoder, rows: Rows) -> None:
    """Leave the weights as they were drawn."""


STARTS: dict[str, Callable[[GeometricAutoencoder, Rows], None]] = {"random": random}
