"""What a tokenizer knows: the texts of its tokens, which are the classes of a language task, and a hash of it all."""

import hashlib
import json
from typing import Any


def vocabulary(tokenizer: Any) -> tuple[str, ...]:
    """The texts of the tokens in the order of their numbers, added and special ones included.

    Numbers to which a model's output layer was padded do not exist here. A number that the tokenizer leaves out below
    its highest one gets a name of its own, which no text is made of.
    """
    numbers: dict[str, int] = tokenizer.get_vocab()
    texts = [f"[no token {number}]" for number in range(max(numbers.values(), default=-1) + 1)]
    for text, number in numbers.items():
        texts[number] = text
    return tuple(texts)


def fingerprint(tokenizer: Any) -> str:
    """A hash of what decides the tokens of a text: vocabulary, rules, special tokens, and the chat template.

    Settings of a single call, such as padding and truncation, are no part of it.
    """
    rules: Any = type(tokenizer).__name__
    if getattr(tokenizer, "backend_tokenizer", None) is not None:
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        for setting in ("padding", "truncation"):
            rules.pop(setting, None)
    special = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    said = [rules, sorted(tokenizer.get_vocab().items()), special, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
