"""Compute in the precision and on the device that the code says, whatever the caller has asked of torch."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICES = ("cpu", "cuda", "mps")


@contextmanager
def as_written() -> Iterator[None]:
    """Ignore the caller's `torch.autocast` and `torch.set_default_device`.

    The third such setting, `torch.set_default_dtype`, holds for all threads and is not changed: new tensors name their
    type instead.
    """
    with ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for device in DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
