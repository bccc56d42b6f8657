"""What several test modules need."""

from __future__ import annotations

QUICK = {"n_steps": 150, "hidden_dims": (32, 32), "batch_size": 128}
"""Arguments of a training that takes a second."""
