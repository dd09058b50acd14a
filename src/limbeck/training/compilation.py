"""`torch.compile` of student and teacher: whether it can be had here, whether it pays back, and how it is asked for.

Compiling fuses what lies between convolutions and products. It costs seconds to minutes before the first step, so it is
chosen by what a step takes with and without it, and only where the training is long enough to win that time back.
Objectives that listen to layers go without: the hooks by which they listen would cut the network into pieces.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from limbeck.errors import TrainingError

SECONDS = 15.0  # small convolutional networks took 10 to 20 s of one core, torch 2.15, nothing cached
SHARE = 0.25  # of a step is about the most that was won on them, in float32
GAIN = 0.95  # what is won must be more than noise
COMPILERS = {"darwin": "clang++", "win32": "cl"}


def worth_trying(steps: int, seconds_per_step: float) -> bool:
    """Whether a training is so long that compiling might pay back although it is done twice: to measure, and to train.

    Args:
        steps: Of the training.
        seconds_per_step: Wall seconds of a step that is not compiled.
    """
    return steps * seconds_per_step * SHARE > 2 * SECONDS


def pays_back(steps: int, plain: float, compiled: float, seconds: float) -> bool:
    """Whether a training ends sooner when it is compiled first.

    Args:
        steps: Of the training.
        plain: Wall seconds of a step as it is.
        compiled: The same, compiled.
        seconds: What compiling took.
    """
    return compiled < GAIN * plain and steps * (plain - compiled) > seconds


def missing(device: torch.device) -> str | None:
    """What `torch.compile` needs for a device and does not find on this machine; None when nothing is missing."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "the package triton"
    compiler = os.environ.get("CXX", COMPILERS.get(sys.platform, "g++"))  # as torch looks for it
    if not shutil.which(compiler):
        return f"a C++ compiler ({compiler})"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return None if header.is_file() else f"Python's C headers ({header})"


def frozen(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, of a network that never changes: its weights become constants, laid out as products want them.

    The weights must stay what they are (a teacher's seal sees to that), and gradients must be off.
    """
    fast = compiled(function, "teacher")

    def call(*arguments: Any) -> Any:
        from torch._inductor import config  # takes seconds to import

        with config.patch(freezing=True):
            return fast(*arguments)

    return call


def compiled(function: Callable[..., Any], whose: str = "student") -> Callable[..., Any]:
    """A function that is compiled when it is first called, for shapes that do not change, apart from all others.

    torch keeps what it compiled on the function's code and gives up after eight networks that share it, which chains
    and comparisons soon have. So this one gets a code object of its own, and all is forgotten with it.

    Raises:
        TrainingError: At the first call, when torch cannot compile it.
    """
    own = types.FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
    )
    fast = torch.compile(own, dynamic=False)
    done = False

    def call(*arguments: Any) -> Any:
        nonlocal done
        if done:
            return fast(*arguments)
        from torch._dynamo.exc import TorchDynamoException  # takes a second to import

        try:
            answer = fast(*arguments)
        except TorchDynamoException as error:
            raise TrainingError(
                f"torch cannot compile the {whose}: {str(error).strip().splitlines()[0]}",
                expected="a network that torch.compile can read, and a C++ compiler",
                remedy=f"training.{'' if whose == 'student' else 'teacher_'}compile: false",
            ) from error
        done = True
        return answer

    return call
