"""The events that long jobs report while they run.

Every long-running function takes `on_event`, a function of one `Event`, which it calls in the calling process:

    def on_event(event: Event) -> None:
        match event:
            case Scored(done, total):
                print(f"{done} of {total}")
            case QueryAnswered(objective=accuracy):
                print(accuracy)

    search_network(network, data, "runs/mine", on_event=on_event)

A listener ignores events that it does not know; `join_listeners` combines several. An exception of a listener stops the
job, whose finished work is kept.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from jaxnas.runtime.measures import ACCURACY, Measure
from jaxnas.runtime.records import Record

if TYPE_CHECKING:  # the command line reads this module before it imports NumPy
    import numpy as np
    from jaxtyping import Float


class SearchStarted(NamedTuple):
    """A search has its pool and begins.

    Attributes:
      title: method, space, data and seed in one short word.
      settings: flat names and values of the run's configuration, as JSON has them.
      format_arch: the text of an architecture from its row in the pool.
      measure: what the search maximises or minimises, and how it is shown.
    """

    title: str
    settings: Mapping[str, object]
    format_arch: Callable[[int], str]
    measure: Measure = ACCURACY


class StageStarted(NamedTuple):
    """A stage begins; its program compiles until the first event of progress.

    Attributes:
      stage: "scoring", "training", or the name of a search method.
    """

    stage: str


class Scored(NamedTuple):
    """Distinct architectures have scores; the first event of a job counts those that the store knew.

    Attributes:
      done: architectures with scores.
      total: architectures of the job.
    """

    done: int
    total: int


class PartDamaged(NamedTuple):
    """A damaged file of a store was renamed; its rows are scored again.

    Attributes:
      name: the file, relative to the store.
      message: description of the damage in one line.
    """

    name: str
    message: str


class TrainingProgress(NamedTuple):
    """The progress of n candidates that are trained together.

    Attributes:
      epoch: under way or just finished, from 1.
      epochs: epochs of the whole training.
      step: steps done in this epoch.
      steps: steps of an epoch.
      loss: mean over these steps, nats.
      accuracy: accuracy on the augmented training images of these steps, percent.
      seconds_left: until the last epoch ends.
      candidates: rows of the pool; 0 for an architecture that is trained outside of a search.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: "Float[np.ndarray, ' n']"
    accuracy: "Float[np.ndarray, ' n']"
    seconds_left: float
    candidates: tuple[int, ...] = (0,)


class QueryAnswered(NamedTuple):
    """A search has the objective of one more distinct architecture.

    Attributes:
      number: number of the query, from 1.
      budget: queries' worth that the search may spend.
      phase: phase of the method, such as "bo" or "greedy".
      arch: row of the pool.
      objective: the observed objective, NaN or inf if the candidate failed.
      cost: seconds, NaN where unknown.
      best: best finite objective so far (at the highest fidelity that has one), NaN where there is none.
      fidelity: column of the objective; the last is the full training.
    """

    number: int
    budget: int
    phase: str
    arch: int
    objective: float
    cost: float
    best: float
    fidelity: int = 0


class SeedsFinished(NamedTuple):
    """Seeds of one method in a comparison are finished; the first event of a method counts those kept from before.

    Attributes:
      method: name of the search method.
      done: finished seeds.
      total: seeds of the comparison.
    """

    method: str
    done: int
    total: int


class Downloaded(NamedTuple):
    """A part of a file has arrived.

    Attributes:
      done: bytes of the file so far.
      total: bytes of the file, None where the server does not say.
    """

    done: int
    total: int | None


class Noted(NamedTuple):
    """Something that the user should know about the data or the result.

    Attributes:
      message: one line.
      is_warning: whether something was left out, or should be changed.
    """

    message: str
    is_warning: bool = False


class SearchFinished(NamedTuple):
    """A search has its result.

    Attributes:
      record: the content of result.json except the command, see `jaxnas.run.run_record`.
    """

    record: Record


Event: TypeAlias = (
    SearchStarted
    | StageStarted
    | Scored
    | PartDamaged
    | TrainingProgress
    | QueryAnswered
    | SeedsFinished
    | Downloaded
    | Noted
    | SearchFinished
)
Listener: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing with an event: the default of every `on_event`."""


def join_listeners(*listeners: Listener) -> Listener:
    """Return one listener that gives each event to all of these, in their order."""

    def call_all(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return call_all
