"""Checkpoints of a training by orbax, from which a killed training is resumed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import PyTree

from jaxnas.errors import InputError, first_line
from jaxnas.objectives.config import complete
from jaxnas.runtime.files import check_same
from jaxnas.runtime.records import Record

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

StateT = TypeVar("StateT")


class Checkpoints:
    """The last state of one training, in a separate folder: arrays, and a header of plain JSON values.

    A checkpoint is written completely or not at all, and the previous one is removed only afterwards.

    Args:
      folder: folder of the checkpoint.
      keeps_last: whether the state of the finished training is kept too.
    """

    def __init__(self, folder: Path, *, keeps_last: bool = False):
        """Name the folder, which is made with the first checkpoint."""
        self.folder, self.keeps_last = folder, keeps_last

    def save(self, number: int, state: PyTree, course: Mapping[str, object], made_with: Mapping[str, object]) -> None:
        """Write a checkpoint and remove the previous one.

        Args:
          number: number of the checkpoint, above that of the previous one.
          state: the state of the training, a tree of NumPy arrays.
          course: progress and losses of the training, as plain JSON values.
          made_with: settings that the training depends on, as plain JSON values.

        Raises:
          InputError: the checkpoint cannot be written.
        """
        import orbax.checkpoint as ocp  # takes a second

        header = json.loads(json.dumps({"course": course, "made_with": made_with}))
        arguments = dict(state=ocp.args.StandardSave(state), header=ocp.args.JsonSave(header))
        try:
            with self._open() as manager:
                manager.save(number, args=ocp.args.Composite(**arguments))
        except OSError as error:
            raise InputError(f"cannot write a checkpoint into {self.folder}: {error.strerror or error}") from error

    def restore(self, like: StateT, made_with: Mapping[str, object]) -> tuple[StateT, Record] | None:
        """Return the state and the course of the checkpoint, or None if there is none.

        Args:
          like: a state with the classes and shapes of the stored one.
          made_with: settings that the training depends on.

        Raises:
          InputError: the checkpoint is damaged, or was made with other settings, which the message names.
        """
        if not self.folder.exists():
            return None
        import orbax.checkpoint as ocp

        with self._named_if_damaged(), self._open() as manager:
            number = manager.latest_step()
            if number is None:
                return None
            header = manager.restore(number, args=ocp.args.Composite(header=ocp.args.JsonRestore()))["header"]
            course, kept_with = dict(header["course"]), dict(header["made_with"])
        check_same(self.folder, complete(kept_with, made_with), made_with)
        with self._named_if_damaged(), self._open() as manager:
            wanted = ocp.args.Composite(state=ocp.args.StandardRestore(like))
            return _with_structure(manager.restore(number, args=wanted)["state"], like), course

    def _open(self) -> "ocp.CheckpointManager":
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        return ocp.CheckpointManager(self.folder.absolute(), options=options)

    @contextmanager
    def _named_if_damaged(self) -> Iterator[None]:
        """Raise what orbax raises on damaged files as an InputError that names the folder."""
        try:
            yield
        except InputError:
            raise
        except (OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            problem = first_line(error)[:200]
            raise InputError(
                f"checkpoint {self.folder} is damaged ({problem}); delete the folder to train from the start"
            ) from error


def _with_structure(state: PyTree, like: StateT) -> StateT:
    """Return `state` as a tree of the same classes as `like`, which orbax does not keep."""
    import jax

    leaves, structure = jax.tree.flatten(like)
    restored = jax.tree.leaves(state)
    if [np.shape(leaf) for leaf in restored] != [np.shape(leaf) for leaf in leaves]:
        raise ValueError("its arrays have other shapes")
    same: StateT = jax.tree.unflatten(structure, restored)
    return same
