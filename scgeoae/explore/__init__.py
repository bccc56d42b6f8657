"""The interactive page: what it holds, as plain numbers and names, and its HTML."""

from __future__ import annotations

from ._colors import log_det_limit
from ._contents import contents
from ._page import Explorer, page

__all__ = ["Explorer", "contents", "log_det_limit", "page"]
