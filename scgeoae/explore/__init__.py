"""The interactive page: what it holds, as plain numbers and names, and its HTML."""

from __future__ import annotations

from ._contents import DIVERGING, contents, log_det_limit
from ._page import Explorer, page

__all__ = ["DIVERGING", "Explorer", "contents", "log_det_limit", "page"]
