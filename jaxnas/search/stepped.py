"""The steps of a search one by one, as its candidates are evaluated outside of a compiled program."""

from functools import partial

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from numpy.typing import ArrayLike

from jaxnas.runtime.session import make_key
from jaxnas.search import loop
from jaxnas.search.history import Phase, Proposal
from jaxnas.search.inputs import choose_config, make_pool, read_earlier
from jaxnas.search.ledger import Choice
from jaxnas.search.method import ConfigT, Method, StateT
from jaxnas.search.pool import Pool

FORESEEABLE = (Phase.RANDOM, Phase.GREEDY)  # phases whose next query does not depend on the objective of the last one


def compile_steps(
    method: Method[StateT, ConfigT],
    shape: tuple[int, int],
    archs: ArrayLike,
    *,
    budget: int,
    config: ConfigT | None,
    earlier: ArrayLike | None = None,
) -> None:
    """Compile the steps of a search on a function of the index before its score table of that shape is known."""
    table, prices = np.zeros(shape), (1,)
    task = read_earlier(method, earlier, len(table), "maximize")
    search = SteppedSearch(method, make_pool(method, table, archs, prices, task), budget, 0, config)
    search.record(search.propose(1)[0], 0.0)
    search.best_weights()


class SteppedSearch:
    """A search whose steps are called one by one, as its candidates are evaluated outside of a compiled program."""

    def __init__(
        self, method: Method[StateT, ConfigT], pool: Pool, budget: int, seed: int, config: ConfigT | None
    ) -> None:
        """Make the state before the first proposal; arguments as for `run_search`."""
        self.method, self.pool, self.config = method, pool, choose_config(method, config)
        self.key: PRNGKeyArray = make_key(seed)
        self.state = loop.start(pool, self.key, method=method, budget=budget, config=self.config)

    def propose(self, room: int) -> list[Proposal]:
        """Return the next proposals, as if each of them failed, until `room` new items are among them."""
        return self._look_ahead(room, foreseen=tuple(Phase), mixed=True)

    def foresee(self, room: int) -> list[Proposal]:
        """Guess the next proposals, up to `room` new items of one phase; a wrong guess costs no query."""
        return self._look_ahead(room, foreseen=FORESEEABLE, mixed=False)

    def record(self, proposal: Proposal, value: float) -> None:
        """Pass an objective to the method."""
        self.state = loop.record(self.state, self.pool, proposal, value, method=self.method, config=self.config)

    def skip(self, item: int) -> None:
        """Leave an item out from now on, without a query and without a value for the method."""
        history = self.state.history._replace(queried=self.state.history.queried.at[item].set(True))
        self.state = self.state._replace(history=history, number=self.state.number + 1)

    def best_weights(self) -> Float[np.ndarray, " M"]:
        """Return the best weights found so far, NaN if the method seeks none."""
        return np.asarray(loop.best_weights(self.state.method, self.pool, self.method))

    def _look_ahead(self, room: int, *, foreseen: tuple[Phase, ...], mixed: bool) -> list[Proposal]:
        """Return the next proposal and, while they are of `foreseen` phases, those that follow if all of them fail."""
        propose = partial(loop.propose, method=self.method, config=self.config)
        record = partial(loop.record, method=self.method, config=self.config)
        proposals: list[Proposal] = []
        state, num_new = self.state, 0
        while num_new < room and len(proposals) < 4 * room:
            proposal = propose(state, self.pool, self.key)
            if not mixed and proposals and proposal.phase != proposals[0].phase:
                break
            proposals.append(proposal)
            if int(proposal.phase) not in foreseen or room == 1:
                break
            num_new += not np.asarray(state.history.queried)[int(proposal.item)]  # without a program
            state = record(state, self.pool, proposal, np.nan)
        return proposals


def to_choice(proposal: Proposal) -> Choice:
    """Return the choice that a proposal made, in NumPy arrays."""
    phase, weights, info = Phase(int(proposal.phase)), np.asarray(proposal.weights), proposal.info
    return Choice(phase, weights, jax.tree.map(np.asarray, info))
