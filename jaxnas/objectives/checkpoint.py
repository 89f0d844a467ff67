"""Checkpoints of a training by orbax: a killed training goes on from the last one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PyTree

from jaxnas.errors import InputError
from jaxnas.runtime.files import check_same


class Checkpoints:
    """The last state of one training, in a folder of its own: arrays, and a header of plain JSON values.

    A checkpoint appears whole or not at all, and the one before goes only then. `keeps_last`: the finished training is
    kept too.
    """

    def __init__(self, folder: Path, *, keeps_last: bool = False):
        self.folder, self.keeps_last = folder, keeps_last

    def save(self, number: int, state: PyTree, course: Mapping[str, Any], made_with: Mapping[str, Any]) -> None:
        """Keep `state`, a tree of NumPy arrays, and forget what was kept before; numbers must rise."""
        import orbax.checkpoint as ocp  # takes a second

        header = json.loads(json.dumps({"course": course, "made_with": made_with}))
        arguments = dict(state=ocp.args.StandardSave(state), header=ocp.args.JsonSave(header))
        try:
            with self._manager(ocp) as manager:
                manager.save(number, args=ocp.args.Composite(**arguments))
        except OSError as error:
            raise InputError(f"cannot write a checkpoint into {self.folder}: {error.strerror or error}") from error

    def restore(self, like: PyTree, made_with: Mapping[str, Any]) -> tuple[PyTree, dict[str, Any]] | None:
        """The state, of the shapes of `like`, and its course; None where there is none.

        Raises: InputError if it is damaged, or if its `made_with` differs from that given (with the fields).
        """
        if not self.folder.exists():
            return None
        import orbax.checkpoint as ocp

        try:
            with self._manager(ocp) as manager:
                number = manager.latest_step()
                if number is None:
                    return None
                header = manager.restore(number, args=ocp.args.Composite(header=ocp.args.JsonRestore()))["header"]
                course, found = dict(header["course"]), dict(header["made_with"])
        except (OSError, LookupError, TypeError, ValueError) as error:
            raise self._damaged(error) from error
        check_same(self.folder, found, made_with)
        try:
            with self._manager(ocp) as manager:
                wanted = ocp.args.Composite(state=ocp.args.StandardRestore(like))
                state = manager.restore(number, args=wanted)["state"]
                return _like(state, like), course
        except (OSError, LookupError, TypeError, ValueError) as error:
            raise self._damaged(error) from error

    def _manager(self, ocp):
        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        return ocp.CheckpointManager(self.folder.absolute(), options=options)

    def _damaged(self, error):
        line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return InputError(f"checkpoint {self.folder} is damaged ({line}); delete the folder to train from the start")


def _like(state, like):
    """`state` as a tree of the same classes, which orbax does not keep."""
    import jax

    leaves, structure = jax.tree.flatten(like)
    found = jax.tree.leaves(state)
    if [np.shape(leaf) for leaf in found] != [np.shape(leaf) for leaf in leaves]:
        raise ValueError("its arrays have other shapes")
    return jax.tree.unflatten(structure, found)
