"""The same search with several seeds, which share the trainings of candidates."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jaxnas.errors import NothingToSelect
from jaxnas.run.config import RunConfig
from jaxnas.run.run import Run
from jaxnas.run.search import search_images
from jaxnas.runtime.events import Listener, Noted, ignore, join_listeners
from jaxnas.runtime.places import to_path
from jaxnas.runtime.settings import LAST_SEED, check_whole
from jaxnas.runtime.workers import Workers


def search_seeds(
    config: RunConfig,
    num: int,
    folder: Path | str,
    *,
    data_folder: Path | None = None,
    scores_path: Path | str | None = None,
    workers: Workers | None = None,
    on_event: Listener = ignore,
    listen_to: Callable[[Path], Listener] = lambda folder: ignore,
    command: str = "",
) -> list[Run]:
    """Run a search with each of the seeds from `config.seed` on, every method on every seed.

    The seed draws pool, minibatch, initial params of scoring and the search; candidates are trained with the first
    seed, so that all searches share one record of trainings and no query is trained twice. The architecture that a
    search selects is trained once more for its test accuracy if another search trained it. An objective of the user's
    is evaluated for each seed. Each search is saved in a folder of its seed, and the same call continues. A seed whose
    candidates all failed is left out, with a warning.

    Args:
      config: settings of the first search.
      num: number of seeds, at least 1.
      folder: folder of the shared record, and of a folder for each seed.
      data_folder: see `search_images`.
      scores_path: see `search_images`.
      workers: see `search_images`.
      on_event: receives the events of all searches, and a `Noted` before each.
      listen_to: makes a further listener of a search from its folder.
      command: the command line, for the records of the runs.

    Returns:
      The finished searches in the order of their seeds.

    Raises:
      InputError: see `search_images`; seeds beyond the last one.
      NothingToSelect: the candidates of all seeds failed.
    """
    num = check_whole("seeds", num, 1, LAST_SEED + 1 - config.seed, f" from seed {config.seed} on")
    folder, runs = to_path(folder), []
    for number, seed in enumerate(range(config.seed, config.seed + num), start=1):
        on_event(Noted(f"seed {seed}, {number} of {num}"))
        of_seed = folder / f"seed{seed}"
        try:
            run = search_images(
                replace(config, seed=seed, training_seed=config.training.seed),
                of_seed,
                data_folder=data_folder,
                scores_path=scores_path,
                record=folder / "training.jsonl",
                workers=workers,
                on_event=join_listeners(on_event, listen_to(of_seed)),
            )._replace(command=command)
        except NothingToSelect as error:
            on_event(Noted(f"seed {seed} is left out: {error}", is_warning=True))
            continue
        run.save(of_seed)
        runs.append(run)
    if not runs:
        raise NothingToSelect(f"all candidates of all seeds failed, of {num} from seed {config.seed} on")
    return runs
