"""FedAvg in which no participant moves the model further than a given distance in one round."""

from foedus.core import trees
from foedus.core.errors import ConfigError
from foedus.core.trees import ParamTree
from foedus.federation.messages import Broadcast, LocalUpdate
from foedus.federation.protocols import Aggregate, Algorithm, LocalTask, Memory, ServerState
from foedus.strategies.local_training import train


def algorithm(longest: float = 1.0) -> Algorithm:
    """Return the strategy. longest: the largest L2 norm of an update; longer ones are scaled down."""
    if longest <= 0:
        raise ConfigError(f"strategy.options.longest is {longest}; it must be greater than 0")

    def local(task: LocalTask, broadcast: Broadcast, memory: Memory) -> tuple[LocalUpdate, Memory]:
        """Train, and send how far the parameters went: the participant's half."""
        result, memory = train(task, broadcast, memory)
        delta = trees.subtract(broadcast.params, result.params)
        length = trees.norm(delta)
        if length > longest:
            delta = trees.scale(delta, longest / length)
        metrics = {**result.metrics, "update_length": length}
        return LocalUpdate({"delta": delta}, result.weight, metrics=metrics, counts=result.counts), memory

    def step(state: ServerState, aggregate: Aggregate) -> tuple[ParamTree, Memory]:
        """Go by the weighted mean of what was sent: the coordinator's half."""
        return trees.add_scaled(state.params, aggregate.averaged["delta"], -1.0), state.memory

    return Algorithm(local, step)
