"""Hinton, Vinyals and Dean 2015, section 3, last paragraph: a student that never saw a 3, before and after its bias.

    python benchmarks/hinton_bias.py runs/hinton-mnist/student-no3 --class 3
    python benchmarks/hinton_bias.py runs/hinton-mnist/student --teacher runs/hinton-mnist/teacher

The paper raises the bias of class 3 until the test error is lowest. Here the bias is chosen on the validation rows and
the test rows are read once. Prints errors in all and on the class, for the student as trained and with the bias. With
`--teacher` it prints instead how many of a student's errors are its teacher's too, and how many rows they differ on.
"""

import argparse
from pathlib import Path

import torch
from rich.console import Console

from limbeck.catalog.data import data_of
from limbeck.catalog.tasks import task
from limbeck.data.rows import Rows
from limbeck.evaluation import Answers, answers
from limbeck.run import Run


def with_bias(said: Answers, number: int, bias: float) -> torch.Tensor:
    """The classes answered when `bias` is added to one class's logit."""
    outputs = said.outputs.clone()
    outputs[:, number] += bias
    return outputs.argmax(dim=1)


def best_bias(said: Answers, number: int) -> float:
    """The bias with the fewest errors; of several, the middle one."""
    biases = torch.arange(-5.0, 20.0, 0.05).tolist()
    errors = [int((with_bias(said, number, bias) != said.labels).sum()) for bias in biases]
    best = [bias for bias, wrong in zip(biases, errors, strict=True) if wrong == min(errors)]
    return best[len(best) // 2]


def line(said: Answers, number: int, bias: float) -> str:
    """Errors in all, and on the class."""
    answered = with_bias(said, number, bias)
    wrong = answered != said.labels
    of_class = said.labels == number
    right = 1 - float(wrong[of_class].float().mean())
    own = f"{int(wrong[of_class].sum())} of them on its {int(of_class.sum())} rows ({right:.1%} right)"
    return f"{int(wrong.sum())} errors, {own}"


def inherited(said: Answers, taught: Answers) -> str:
    """The student's errors, parted into those that its teacher makes too and its own."""
    student, teacher = said.outputs.argmax(dim=1), taught.outputs.argmax(dim=1)
    wrong, led = student != said.labels, teacher != said.labels
    both, differ = int((wrong & led).sum()), int((student != teacher).sum())
    counts = f"{int(wrong.sum())} errors, {both} of them among the teacher's {int(led.sum())}"
    return f"{counts}; another answer than the teacher's on {differ} rows"


def main() -> None:
    """Reads the arguments and prints the lines of each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--class", dest="name", default="3")
    parser.add_argument("--teacher", type=Path, help="a run: compare errors with this teacher's, and touch no bias")
    chosen = parser.parse_args()
    run, console = Run.open(chosen.run), Console()
    data, judge = data_of(run.recipe().data), task(run.record.task)
    number = data.classes.index(chosen.name)

    def said(seed: int, rows: Rows) -> Answers:
        return answers(run.student(seed=seed), rows, judge)

    if chosen.teacher:
        taught = answers(Run.open(chosen.teacher).student(), data.test, judge)
        for result in run.record.results:
            console.print(f"seed {result.seed}: {inherited(said(result.seed, data.test), taught)}")
        return
    for result in run.record.results:
        bias = best_bias(said(result.seed, data.valid), number)
        test = said(result.seed, data.test)
        console.print(f"seed {result.seed}: as trained {line(test, number, 0.0)}")
        console.print(f"seed {result.seed}: bias {bias:+.2f} {line(test, number, bias)}")


if __name__ == "__main__":
    main()
