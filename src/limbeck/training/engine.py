"""Devices and processes, through accelerate; precision stays ours (law 6)."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import get_int_from_env

from limbeck.errors import Interrupted, RecipeError
from limbeck.training.trackers import refuse_missing


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Runs the block with so many threads of the processor, and puts the number back; None leaves it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main_process() -> bool:
    """Whether this is the process that writes, of those that one launcher started; known before they have met.

    It reads what torchrun, accelerate or MPI left in the environment, as accelerate does when the processes meet.
    """
    return bool(get_int_from_env(["RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"], 0) == 0)


def several_processes() -> bool:
    """Whether a launcher started this process beside others; known before they have met, as `main_process`."""
    return bool(get_int_from_env(["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"], 1) > 1)


def meet(accelerator: Accelerator) -> None:
    """Waits for the other processes of one launch, for half an hour at most (accelerate's bound).

    Raises:
        Interrupted: When another of them has ended, or none is heard of any more.
    """
    try:
        accelerator.wait_for_everyone()
    except RuntimeError as error:
        raise Interrupted(
            "another process of this launch has ended, or is not heard of any more",
            expected="all processes of a launch until the work is done",
            remedy="look what became of it, and start the same launch again; what is finished is kept",
        ) from error


def engine(device: str, trackers: Sequence[str], folder: Path) -> Accelerator:
    """An accelerator on a device, which knows the trackers that were asked for; they are opened later (`trackers`).

    Args:
        device: `auto` takes what accelerate finds, `cpu` the processor, `cuda` a GPU or nothing.
        trackers: `tensorboard`, `wandb`, `mlflow`.
        folder: Trackers that write files write them here.

    Raises:
        RecipeError: When a tracker's package is not installed, or there is no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError(
            "device: cuda was asked for, and torch finds no CUDA device here",
            expected="a GPU, its driver, and a torch that was built for it",
            remedy="device: auto takes a GPU where there is one; device: cpu does without",
        )
    refuse_missing(trackers)
    # A head that no term reads (features only) gets no gradient; several processes must not wait for it.
    tolerant = DistributedDataParallelKwargs(find_unused_parameters=True)
    # Several processes on a machine without a GPU find each other only where accelerate is told to stay on the CPU.
    return Accelerator(
        cpu=device == "cpu" or not torch.accelerator.is_available(),
        log_with=list(trackers) or None,
        project_dir=folder,
        kwargs_handlers=[tolerant],
        step_scheduler_with_optimizer=False,
    )
