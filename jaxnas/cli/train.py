"""`jaxnas train`."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from jaxnas.cli.command import Given, only, takes
from jaxnas.cli.options import DataOptions, OutputOptions, PluginOptions
from jaxnas.cli.progress import emit, progress
from jaxnas.cli.stop import keeping, stoppable
from jaxnas.cli.terminal import configure_jax, console, print_trained
from jaxnas.errors import InputError
from jaxnas.models.find import MODEL, TRAINED
from jaxnas.objectives.config import TrainingConfig
from jaxnas.run.config import RunConfig, TrainConfig
from jaxnas.run.sections import NetworkConfig
from jaxnas.runtime.bars import warn
from jaxnas.runtime.names import SpaceName, names
from jaxnas.runtime.settings import REQUIRED, setting, settings_of

_HYPERPARAMETERS = tuple(name for name in settings_of(TrainingConfig) if name != "folds")  # all images train


def check_order(arch: str) -> None:
    """Check that an argument is not the space of an architecture that follows.

    Raises:
      InputError: it is.
    """
    if arch in names(SpaceName) and not os.path.exists(arch):
        raise InputError(f"{arch!r} is a search space: give the architecture first, jaxnas train ARCH {arch}")


@dataclass(frozen=True)
class ArchOptions:
    """The architecture to train."""

    arch: str = setting(
        REQUIRED,
        "Architecture, such as a genotype, or the folder of a search.",
        argument=True,
        place=True,
        find=check_order,
    )
    space: str | None = setting(
        None,
        "Its search space.",
        argument=True,
        known=SpaceName,
        kind="search space",
        shown="the one that can read it",
    )
    old_space: SpaceName | None = setting(
        None, "Deprecated: give the space after the architecture.", flag="--space", kind="search space", hidden=True
    )

    @property
    def name_of_space(self) -> str:
        """The space that the user named, or an empty text.

        Raises:
          InputError: argument and option name two spaces.
        """
        if self.old_space is not None and self.space not in (None, self.old_space):
            raise InputError(f"space {self.space} and --space {self.old_space} differ: leave --space out")
        return self.space or self.old_space or ""

    def warn_of_old(self) -> None:
        """Say what replaces the deprecated option, if it is given."""
        if self.old_space is not None:
            warn(f"--space is deprecated: write jaxnas train ARCH {self.name_of_space}")

    def check_text(self) -> None:
        """Check, without JAX, that the text is an architecture of its space or of any, where it is no folder.

        Raises:
          InputError: it is none, or two spaces are named.
        """
        from jaxnas.spaces.named import get_space, space_of

        if os.path.isdir(self.arch):
            return
        if named := self.name_of_space:
            get_space(named).parse(self.arch)
        else:
            space_of(self.arch)


@takes(
    *("data", "epochs", "out"),
    chosen=ArchOptions,
    images=(only(TrainConfig, "data"),),
    network=(NetworkConfig,),
    training=(only(TrainingConfig, *_HYPERPARAMETERS), only(RunConfig, "seed")),
    plugins=PluginOptions,
    data=DataOptions,
    output=OutputOptions,
)
@stoppable()
def train(
    chosen: ArchOptions,
    images: Given,
    network: Given,
    training: Given,
    plugins: PluginOptions,
    data: DataOptions,
    output: OutputOptions,
) -> None:
    """Train one architecture on all training images by the published recipe of its space, test it, keep its model.

    The folder of a search gives its architecture, data and network size; options replace them. Checkpoints are written
    every minute: after Ctrl-C or a kill the same command resumes.

    \b
    Examples:
      jaxnas train runs/darts-cifar10-seed0
      jaxnas train "Genotype(normal=[('sep_conv_3x3', 0), ...], ...)" --epochs 20
      jaxnas train "64-41414-0_00_000" transnas101-micro --data digits
      jaxnas train "8:conv3" mine --plugin mine.py --data digits
    """
    chosen.warn_of_old()
    if not plugins.any:  # which may add spaces
        chosen.check_text()
    configure_jax(verbose=output.verbose)
    from jaxnas.run.train import train_arch, train_config, train_run
    from jaxnas.run.trained import save_trained, trained_record

    loaded = plugins.load()
    config = None
    if os.path.isdir(chosen.arch):
        _check_space(chosen)
        folder = output.out or Path(chosen.arch, TRAINED)
    else:
        given = {**images, **training}
        config = train_config(chosen.arch, chosen.name_of_space, network=network, plugins=loaded, **given)
        name = f"train-{config.space}-{Path(config.data).stem}-seed{config.training.seed}"
        folder = output.out or Path("runs", name)
    with keeping(folder), progress(output.as_json) as shown:
        if config is None:
            given = {**images, **network, **training, "plugins": loaded}
            trained = train_run(chosen.arch, folder, data_folder=data.data_folder, on_event=shown, **given)
        else:
            trained = train_arch(config, folder, data_folder=data.data_folder, on_event=shown)
            save_trained(folder, trained)
    if output.as_json:
        return emit("done", out=str(folder), result=trained_record(trained))
    print_trained(trained)
    console.print(f"result.json, the checkpoint and the model are in {folder}", soft_wrap=True, highlight=False)
    if (folder / MODEL).exists():
        place = shlex.quote(str(folder))
        console.print(f"use it with: jaxnas predict {place} PICTURES", soft_wrap=True, highlight=False)
        console.print(f"export it with: jaxnas export {place} --to torch", soft_wrap=True, highlight=False)


def _check_space(chosen: ArchOptions) -> None:
    """Raise an InputError for a space that is not that of the search."""
    from jaxnas.run.load import load_selected

    searched = load_selected(chosen.arch).space
    if chosen.name_of_space not in ("", searched):
        raise InputError(
            f"the search in {chosen.arch} is of {searched}, not {chosen.name_of_space}: leave the space out"
        )
