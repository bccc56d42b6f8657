"""Write checkpoints of a training atomically, and read them without running code."""

from __future__ import annotations

import os
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from scanpy import logging as logg

from ..core import sharding
from ..core.resumption import check_state
from ..storage import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..core.training import Trainer

FORMAT = 1


class Checkpoint:
    """A file from which an interrupted training continues.

    Parameters
    ----------
    file
        Where to write, in an existing folder.
    made_with
        What must be equal for a training to continue: arguments, versions, size and scale of the data.
    """

    def __init__(self, file: str | Path, made_with: Mapping[str, Any]) -> None:
        self.file, self.made_with = Path(file), dict(made_with)

    def write(self, trainer: Trainer) -> None:
        """Replace the file, from the first process alone. On failure the previous file stays as it was.

        Raises
        ------
        OSError
            If it cannot be written: the disk is full or gone.
        """
        if sharding.rank() > 0:
            return
        state = {"format": FORMAT, "made_with": self.made_with, "trainer": trainer.state_dict()}
        content = BytesIO()  # some megabytes; torch.save to a full disk does not report the reason
        torch.save(state, content)
        try:
            with replacing(self.file) as temporary, temporary.open("wb") as stream:
                stream.write(content.getbuffer())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            msg = f"the checkpoint {self.file} cannot be written and stays as it was: {os.strerror(error.errno or 0)}"
            raise OSError(error.errno, msg) from error

    def resume(self, trainer: Trainer) -> None:
        """Restore the state of a new trainer from the file; without a file, training starts from the first step.

        Raises
        ------
        ValueError
            If the file is not a checkpoint of this training, or not all processes see it.
        """
        if self.file.exists():
            self._load(trainer)
        else:
            logg.info(f"    no checkpoint {self.file} yet: training starts from the first step")
        if not sharding.same_everywhere(trainer.step):
            msg = f"The processes would not continue at the same step: not all of them see the checkpoint {self.file}."
            raise ValueError(msg)

    def _load(self, trainer: Trainer) -> None:
        with self._damage_reported():
            state = torch.load(self.file, map_location="cpu", weights_only=True)
            if state["format"] != FORMAT:
                msg = f"it has format {state['format']!r}, this version reads {FORMAT}"
                raise ValueError(msg)
            theirs = state["made_with"]
            different = [name for name in {**theirs, **self.made_with} if theirs.get(name) != self.made_with.get(name)]
        if different:
            name = different[0]
            msg = (
                f"The checkpoint {self.file} belongs to another training: {name} was {theirs.get(name)!r} and is "
                f"{self.made_with.get(name)!r}. Remove the file, or pass the arguments of that training."
            )
            raise ValueError(msg)
        with self._damage_reported():
            check_state(state["trainer"], trainer)
            trainer.load_state_dict(state["trainer"])
        logg.info(f"    continuing at step {trainer.step} from {self.file}")

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # torch raises all kinds on a damaged or hostile file
            reason = (str(error) or type(error).__name__).splitlines()[0]
            msg = f"{self.file} is not a checkpoint that can be read: {reason}."
            raise ValueError(msg) from error
