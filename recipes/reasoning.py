"""What recipes/reasoning-teacher.yaml and recipes/reasoning.yaml need: a tokenizer, and the teacher's texts.

python recipes/reasoning.py runs/reasoning-text

A token is a character. The teacher learns from the generator's own written solutions to problems of another seed; a
question that recipes/reasoning.yaml asks as well is left out, so that neither teacher nor student has seen it solved.
"""

import argparse
import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from limbeck.data.problems.arithmetic import Arithmetic

END = "<|end|>"
# recipes/reasoning.yaml names the first of these.
STUDENT, TEACHER = Arithmetic(5000, 2, 5, 50, seed=0), Arithmetic(20000, 2, 5, 50, seed=1)


def tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A token for each character that occurs."""
    known = {END: 0} | {sign: number for number, sign in enumerate(sorted(set("".join(texts))), start=1)}
    rules = Tokenizer(models.WordLevel(known))
    rules.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    rules.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=rules, eos_token=END, pad_token=END)


def main() -> None:
    """Writes `reads` (the tokenizer) and `teacher.jsonl` (prompts with written solutions) into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    asked = {row["question"] for row in STUDENT.rows()}
    rows = [row for row in TEACHER.rows() if row["question"] not in asked]
    lines = [{"prompt": f"{row['question']}\n", "completion": row["solution"]} for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer([f"{line['prompt']}{line['completion']}" for line in lines]).save_pretrained(str(folder / "reads"))
    (folder / "teacher.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    print(f"{len(lines)} solutions for the teacher; {TEACHER.problems - len(rows)} left out, which are asked as well")


if __name__ == "__main__":
    main()
