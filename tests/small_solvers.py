"""A server that solves small problems by calculating, and miscalculates some: a teacher whose mistakes are known."""

import hashlib
import re
import threading
from pathlib import Path
from typing import Any

from small_server import Speaker
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from limbeck.data.problems.arithmetic import Arithmetic

SIGNS = " \n#+-*=.,0123456789abcdefghijklmnopqrstuvwxyzSI[]"
SOURCE = "arithmetic(problems=60, fewest=1, most=2, largest=20)"
PROBLEMS = list(Arithmetic(60, 1, 2, 20).rows())


def characters(place: Path) -> str:
    """A tokenizer of characters in a folder; what a recipe calls it."""
    known = {"<|end|>": 0} | {sign: number for number, sign in enumerate(sorted(set(SIGNS)), start=1)}
    rules = Tokenizer(models.WordLevel(known))
    rules.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    rules.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=rules, eos_token="<|end|>", pad_token="<|end|>").save_pretrained(place)
    return f"hf:{place}"


class Solver(Speaker):
    """Solves what `arithmetic` asks; of ten samples it gets one answer wrong, one step wrong, and one is cut.

    Questions in `hopeless` it never solves.
    """

    hopeless: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__(None, None)
        self._lock = threading.Lock()
        self.misbehaves = lambda request, number: False

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        question = body["prompt"].strip().splitlines()[-1]
        steps, result = solved(question)
        draw = hashlib.sha256(f"{question}|{body.get('seed')}|{body['temperature']}".encode()).digest()[0] % 10
        why = "length" if draw == 0 else "stop"
        if draw == 1 or question in self.hopeless:
            result += 1
        if draw == 2:
            steps = [f"{steps[0]}5", *steps[1:]]
        text = "\n".join([*steps, f"#### {result}"])
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(text)}
        return {"choices": [{"index": 0, "text": text, "finish_reason": why}], "usage": usage}


def solved(question: str) -> tuple[list[str], int]:
    """The steps of a problem and its result."""
    first, *rest = re.findall(r"(Start with|add|take|times) (\d+)", question)
    now, steps = int(first[1]), []
    for word, by in rest:
        sign = {"add": "+", "take": "-", "times": "*"}[word]
        after = {"+": now + int(by), "-": now - int(by), "*": now * int(by)}[sign]
        steps.append(f"{now}{sign}{by}={after}")
        now = after
    return steps, now
