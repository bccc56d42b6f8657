"""Maps of tests that change what is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture
def mapped(mapped: AnnData) -> AnnData:
    """The blood cells with a quickly trained map, whose coordinates and input may be changed by hand."""
    del mapped.uns["geoae"]["fingerprint"]
    return mapped
