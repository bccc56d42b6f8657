"""Maps whose cells may be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture
def mapped(mapped: AnnData) -> AnnData:
    """The blood cells with a quickly trained map, which does not know where they lay: tests move them."""
    del mapped.uns["geoae"]["fingerprint"]
    return mapped
