"""A teacher that is recorded and asked live through torch.compile, as a program: prints what came of it as JSON.

python compiled_teacher.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from small_recordings import LOGITS, TASK, Wanted, pieces

from limbeck.data.source import load
from limbeck.errors import TeacherError
from limbeck.recorder import record
from limbeck.recordings.manifest import read_manifest
from limbeck.teachers.recording import RecordedTeacher
from limbeck.training.asking import question
from limbeck.training.compilation import frozen


def main(folder: Path) -> None:
    """Records 200 digits in batches of 100, and compares."""
    torch.set_num_threads(1)
    rows = load("digits").train.select(torch.arange(200))
    wanted = Wanted(rows, folder, needs=LOGITS, views=None, augment=None, batch_size=100)
    asked = {name: value for name, value in vars(wanted).items() if name not in ("teacher", "rows")}
    made = record(wanted.teacher, rows, TASK, **asked, precision="bfloat16", through=frozen)
    recorded = RecordedTeacher(made)
    recorded.prepare(LOGITS, wanted.classes)
    ask, plain = (question(wanted.teacher, "bfloat16", compile) for compile in (True, False))
    batches = list(pieces(rows, wanted, 0, 100))
    answers = [(recorded.signals(batch).logits.float(), ask(batch).logits, plain(batch).logits) for batch in batches]
    far = max(float((fast - slow).abs().max() / slow.abs().max()) for _, fast, slow in answers)
    next(wanted.teacher.model.parameters()).data.add_(1)
    try:
        for _ in range(100):  # a write past autograd shows once its tensor's turn has come
            ask(batches[0])
        watched = False
    except TeacherError:
        watched = True
    found = {
        "precision": read_manifest(made).identity.precision,
        "same_bits": all(torch.equal(kept, fast) for kept, fast, _ in answers),
        "other_bits_than_plain": far > 0,
        "near_plain": far <= 0.02,
        "watched": watched,
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
