"""Work for other processes and machines, through Ray: functions that write to a folder which all of them see.

Ray starts the workers, brings the calls there and repeats the call of a worker that died; nothing of that is done here.
What is called is a function of a module that can be imported there, and its arguments are texts and numbers, so that no
object of ours is pickled. Ray sends no usage statistics from what is started here; of a cluster that runs already, who
started it decides. Written from Ray's documentation, https://docs.ray.io: `ray.init`, tasks that fail, usage stats.
"""

import hashlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.errors import Interrupted, LimbeckError, RecipeError, StorageError

LOCAL, AUTO = "local", "auto"
# Ray's own default for the times that a task is repeated after its worker died.
RETRIES = 3
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_FOR_AN_ANSWER = 120.0
SECONDS_TO_CONNECT = 10.0
# How long workers that were told to stop have for saving what they did.
SECONDS_TO_SAVE = 30.0
_STATISTICS = "RAY_USAGE_STATS_ENABLED"
_ADDRESS = "RAY_ADDRESS"
_ADDRESSES = "local, auto or the HOST:PORT of a cluster that runs"


@dataclass(frozen=True)
class Demand:
    """What one call occupies: processors, each for a thread, and GPUs."""

    cpus: int = 1
    gpus: int = 0


@contextmanager
def connected(address: str, cpus: int | None = None) -> Iterator[None]:
    """Connects this process to Ray while the block runs; a process that is connected already stays so.

    Args:
        address: "local" starts a Ray of our own on this machine, which ends with the block; HOST:PORT is one that runs;
            "auto" is the one that `RAY_ADDRESS` names in the environment, else the one this machine belongs to.
        cpus: How many processors a Ray of our own counts; all of the machine when left out.

    Raises:
        RecipeError: When Ray is not installed, there is no such cluster, or Ray cannot start here.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    address = (os.environ.get(_ADDRESS) or AUTO) if address == AUTO else address
    if address not in (AUTO, LOCAL):
        refuse_silent(address)
    ours = {"num_cpus": cpus, "include_dashboard": False} if address == LOCAL else {}
    with _without_statistics():
        listens = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **ours)
        except Exception as error:  # Ray raises no narrower one where its processes do not come up in time
            what = "Ray did not start here" if ours else f"no Ray cluster answers at {address}"
            raise RecipeError(
                f"{what}: {_first_line(error)}",
                expected=_ADDRESSES,
                remedy="try again where it was busy; where the cluster asks for a token, set RAY_AUTH_MODE=token",
            ) from error
        finally:
            if listens:  # Ray puts a handler of its own in the place of whoever listens for it
                signal.signal(signal.SIGTERM, before)
        try:
            yield
        finally:
            ray.shutdown()


def refuse_silent(address: str) -> None:
    """Makes sure that something listens at an address; Ray itself would try it for minutes.

    Args:
        address: HOST:PORT.

    Raises:
        RecipeError: When nothing answers there within 10 seconds, or it is no such address.
    """
    if "://" in address:
        raise RecipeError(
            f"--ray {address} is the address of Ray's client, which is no process of the cluster",
            expected=_ADDRESSES,
            remedy="give the command on a machine of the cluster, such as through `ray job submit`, with --ray auto",
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise RecipeError(f"--ray {address} is no address", expected=_ADDRESSES, remedy="such as --ray 10.0.0.5:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise RecipeError(
            f"no Ray cluster answers at {address}: {_first_line(error)}",
            expected=_ADDRESSES,
            remedy="`ray status` on its head says whether it runs; it listens at port 6379 if it was told no other",
        ) from error


def room(demand: Demand) -> int:
    """How many calls can run at a time on the machines that are there now.

    Raises:
        RecipeError: When no machine is large enough for one.
    """
    found = 0
    for node in _nodes():
        has = node["Resources"]
        fits = int(has.get("CPU", 0)) // demand.cpus
        found += min(fits, int(has.get("GPU", 0)) // demand.gpus) if demand.gpus else fits
    if not found:
        raise RecipeError(
            f"no machine of the Ray cluster has {demand.cpus} processors and {demand.gpus} GPUs for one worker",
            expected="a machine with as many processors as training.threads, and a GPU where device is one",
            remedy="--set training.threads=1, or a larger machine",
        )
    return found


def refuse_unseen(file: Path) -> None:
    """Makes sure that every machine which may get work sees a file as this process does, at the same path.

    Raises:
        StorageError: Which machine does not, or has no Limbeck.
    """
    ray, here = _ray(), _look(os.getcwd(), str(file))
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote, nodes = ray.remote(_look), _nodes()
    there = [NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False) for node in nodes]
    asked = [remote.options(num_cpus=0, scheduling_strategy=place).remote(os.getcwd(), str(file)) for place in there]
    for node, answer in zip(nodes, asked, strict=True):
        name = node.get("NodeName") or node["NodeID"]
        try:
            seen = ray.get(answer, timeout=SECONDS_FOR_AN_ANSWER)
        except (GetTimeoutError, RayError) as error:
            raise StorageError(
                f"{name} of the Ray cluster cannot run Limbeck: {_first_line(error)}",
                expected="on every machine the same environment, with the working directory and PYTHONPATH of this one",
                remedy="install Limbeck there, or start Ray there in the environment that has it",
            ) from error
        if seen != here:
            raise StorageError(
                f"{name} of the Ray cluster does not see {file.parent} as this machine does",
                expected="one folder that all machines of the cluster see at the same path",
                remedy="give a folder on storage that they share, or record shares (--share 1/2) and merge them",
            )


def called(
    function: Callable[..., Any], calls: Sequence[Sequence[str | int]], demand: Demand, watch: Callable[[], object]
) -> list[Any]:
    """Calls a function once for each list of arguments, each in a process of Ray's, and waits for all.

    A call whose process dies is made again, at most `RETRIES` times: the function must go on from what it left.

    Args:
        function: Of a module that can be imported there.
        calls: The arguments of each call.
        demand: What each call occupies.
        watch: Called about once a second while they run, and at the end.

    Returns:
        What the calls gave, in the order in which they came.

    Raises:
        LimbeckError: What a call raised; the others are stopped, and may save.
        Interrupted: When a call's processes died too often.
    """
    ray = _ray()
    from ray.exceptions import RayError, RayTaskError

    remote = ray.remote(function).options(
        num_cpus=demand.cpus, num_gpus=demand.gpus, max_retries=RETRIES, scheduling_strategy="SPREAD"
    )
    left = [remote.remote(*call) for call in calls]
    found: list[Any] = []
    try:
        while left:
            done, left = ray.wait(left, num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
            found += ray.get(done)
            watch()
    except RayTaskError as error:
        if isinstance(error.cause, LimbeckError):
            raise error.cause from None
        raise
    except RayError as error:
        raise Interrupted(
            f"a worker of Ray's died {RETRIES + 1} times over the same work: {_first_line(error)}",
            expected="workers that live long enough to save something",
            remedy="look whether their memory suffices, and run the same command again: what is finished is kept",
        ) from error
    finally:
        for each in left:
            ray.cancel(each)
        if left:
            ray.wait(left, num_returns=len(left), timeout=SECONDS_TO_SAVE)
    return found


def _look(here: str, path: str) -> str | None:
    """What a machine sees in a file named from a working directory: its SHA-256, None where it sees no file."""
    try:
        with chdir(here):
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def _nodes() -> list[dict[str, Any]]:
    """The machines that may get work; the head of a large cluster often offers no processor."""
    return [node for node in _ray().nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise RecipeError("Ray is not installed", remedy="pip install 'limbeck[ray]'") from error
    return ray


@contextmanager
def _without_statistics() -> Iterator[None]:
    before = os.environ.get(_STATISTICS)
    os.environ[_STATISTICS] = "0"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_STATISTICS, None)
        else:
            os.environ[_STATISTICS] = before


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
