"""What recipes/reasoning-teacher.yaml and recipes/reasoning.yaml need: a tokenizer, texts for the teacher, problems.

python recipes/reasoning.py runs/reasoning-text

A token is a character. The teacher learns from the generator's own written solutions; the problems of the recipe are
others, so that neither teacher nor student has seen one of them solved.
"""

import argparse
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from limbeck.data.problems.arithmetic import Arithmetic

END = "<|end|>"
TEACHER, PROBLEMS = Arithmetic(20000, 2, 5, 50, seed=1), Arithmetic(2000, 3, 4, 20, seed=0)
# Kept from the teacher as well, for problems that are longer and larger.
HARDER = Arithmetic(5000, 2, 5, 50, seed=0)


def tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A token for each character that occurs."""
    known = {END: 0} | {sign: number for number, sign in enumerate(sorted(set("".join(texts))), start=1)}
    rules = Tokenizer(models.WordLevel(known))
    rules.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    rules.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=rules, eos_token=END, pad_token=END)


def main() -> None:
    """Writes `reads` (the tokenizer), `teacher.jsonl` (prompts with solutions) and `problems.jsonl` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    harder = {row["question"] for row in HARDER.rows()}
    rows = [row for row in TEACHER.rows() if row["question"] not in harder]
    shown = {row["question"] for row in rows}
    others = [row for row in PROBLEMS.rows() if row["question"] not in shown]
    lines = [{"prompt": f"{row['question']}\n", "completion": row["solution"]} for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer([f"{line['prompt']}{line['completion']}" for line in lines]).save_pretrained(str(folder / "reads"))
    for name, said in (("teacher", lines), ("problems", others)):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in said), encoding="utf-8")
    print(f"{len(lines)} solutions for the teacher, {len(others)} other problems")


if __name__ == "__main__":
    main()
