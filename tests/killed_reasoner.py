"""A process that reasons in children which are killed; `test_reasoning.py` runs it, it is no test by itself."""

import json
import os
import signal
import sys
import warnings
from pathlib import Path

import torch

from limbeck.plans.reasoning import reason
from limbeck.recipe import Recipe
from limbeck.solutions import exams, judging

STAGES = ("samples.jsonl", "samples.cut.jsonl", "verdicts.jsonl", "probe.jsonl", "train.jsonl.partial")
STAGES += ("student-0.jsonl", "alone-0.jsonl", "reasoning.json.partial", "reasoning.md.partial")


def die_at(instant: int) -> None:
    """Kills this process just before it opens a stage's file for writing for the `instant`-th time."""
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open" and str(arguments[0]).endswith(STAGES) and str(arguments[1])[:1] in ("a", "w"):
            count += 1
            if count == instant:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def main(recipe: Path, folder: Path) -> None:
    """Goes on in children that are killed one instant later each time, until one lives; says how many died."""
    torch.set_num_threads(1)
    judging._AT_ONCE = exams._AT_ONCE = 24
    kills, code = 0, -signal.SIGKILL
    while code != 0:
        child = os.fork()
        if child == 0:
            die_at(kills + 1)
            warnings.simplefilter("ignore")
            died = 1
            try:
                reason(Recipe.read(recipe).replace(to=str(folder)), resume=True)
                died = 0
            finally:
                os._exit(died)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL), code
        kills += code != 0
    sys.stdout.write(json.dumps({"kills": kills}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
