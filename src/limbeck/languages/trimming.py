"""Tokenizers with fewer tokens: those that a corpus uses, and what is needed to write any other text.

Of a byte-pair tokenizer a token is kept together with those it is merged from, and a merge where both its parts and
what it makes are kept. So every text whose tokens are all kept has the same tokens as before, since a merge that was
made there is still made, in the same order; any other text is written with shorter tokens, in the end with its bytes.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from limbeck.errors import DataError, ModelError
from limbeck.languages.places import transformers

# Text is handed over in pieces: what a tokenizer says of a token takes a hundred bytes.
_CHARACTERS = 1_000_000
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


def counted(tokenizer: Any, corpus: Path) -> Counter[int]:
    """How often a text file uses each token.

    Raises:
        DataError: When there is no such file, or nothing in it.
    """
    if not corpus.is_file():
        raise DataError(f"there is no file {corpus}", expected="a text whose tokens are kept: corpus='FILE.txt'")
    found: Counter[int] = Counter()
    for text in _pieces(corpus):
        found.update(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    if not found:
        raise DataError(f"{corpus} holds no token", expected="text of the kind that will be read")
    return found


def trimmed(tokenizer: Any, uses: Mapping[int, int], size: int = 0) -> tuple[Any, list[int]]:
    """A tokenizer of fewer tokens, and for each of its numbers the one that the token had.

    Kept are all added (special) tokens, what writes any byte, and what is used; numbers stay in their order.

    Args:
        tokenizer: Of transformers, with byte-pair rules; it stays as it is.
        uses: How often each token is used, by its number; one that is not used is left out.
        size: How many tokens are kept at most, those used most first; 0 for all that are used.

    Raises:
        ModelError: When its rules are of another kind, or `size` has no room for what must be kept.
    """
    rules = _rules(tokenizer)
    vocabulary: dict[str, int] = rules["model"]["vocab"]
    texts = {number: text for text, number in vocabulary.items()}
    ranks = {_pair(merge): place for place, merge in enumerate(rules["model"]["merges"])}
    kept = _needed(rules, vocabulary)
    if size and size < len(kept):
        raise ModelError(
            f"size={size} has no room for the {len(kept)} tokens that write any text",
            expected=f"{len(kept)} or more: added tokens, and one for each byte",
        )
    for number, _ in sorted(uses.items(), key=lambda use: (-use[1], use[0])):
        if number in kept or number not in texts:
            continue
        wanted = {number, *(vocabulary[part] for part in parts(texts[number], ranks) if part in vocabulary)} - kept
        if size and len(kept) + len(wanted) > size:
            continue
        kept |= wanted
    order = sorted(kept)
    return _written(tokenizer, _renumbered(rules, {old: new for new, old in enumerate(order)})), order


def parts(text: str, ranks: Mapping[tuple[str, str], int]) -> set[str]:
    """The tokens that are merged on the way to a token, itself and its characters among them.

    Args:
        text: The token.
        ranks: When a pair of tokens is merged, the smallest first.
    """
    pieces = list(text)
    met = set(pieces)
    while len(pieces) > 1:
        pairs = [ranks.get(pair, len(ranks)) for pair in pairwise(pieces)]
        place = min(range(len(pairs)), key=pairs.__getitem__)
        if pairs[place] == len(ranks):
            break  # no merges make it: the rules take whole words as they are
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        met.add(pieces[place])
    return met


def _rules(tokenizer: Any) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    said: dict[str, Any] = {} if backend is None else json.loads(backend.to_str())
    model = said.get("model", {})
    marked = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    if model.get("type") != "BPE" or marked:
        raise ModelError(
            f"the rules of this {type(tokenizer).__name__} are "
            f"{'BPE with marks inside of words' if marked else model.get('type', 'not written down')}",
            expected="byte-pair rules (BPE), as Llama, Qwen, GPT-2 and SmolLM have",
            remedy="keep the whole vocabulary",
        )
    return said


def _needed(rules: Mapping[str, Any], vocabulary: Mapping[str, int]) -> set[int]:
    """Added tokens, the one for what is unknown, and what writes any byte or else any character that was known."""
    model = rules["model"]
    kept = {int(token["id"]) for token in rules["added_tokens"]}
    if model.get("unk_token") in vocabulary:
        kept.add(vocabulary[model["unk_token"]])
    if model.get("byte_fallback"):
        return kept | {vocabulary[byte] for byte in (f"<0x{n:02X}>" for n in range(256)) if byte in vocabulary}
    return kept | {number for text, number in vocabulary.items() if len(text) == 1}


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _renumbered(rules: dict[str, Any], place: Mapping[int, int]) -> dict[str, Any]:
    """The rules of the kept tokens alone, under their new numbers."""
    model = rules["model"]
    vocabulary = {text: place[number] for text, number in model["vocab"].items() if number in place}
    merges = [
        merge for merge in model["merges"] if (pair := _pair(merge)) and {*pair, "".join(pair)} <= vocabulary.keys()
    ]
    added = [{**token, "id": place[token["id"]]} for token in rules["added_tokens"]]
    after = _processor(rules.get("post_processor"), place)
    return {
        **rules,
        "model": {**model, "vocab": vocabulary, "merges": merges},
        "added_tokens": added,
        "post_processor": after,
    }


def _processor(said: Any, place: Mapping[int, int]) -> Any:
    """What is put around a text, with new numbers."""
    kind = None if said is None else said["type"]
    if kind == "Sequence":
        return {**said, "processors": [_processor(each, place) for each in said["processors"]]}
    if kind == "TemplateProcessing":
        tokens = {
            name: {**token, "ids": [place[number] for number in token["ids"]]}
            for name, token in said["special_tokens"].items()
        }
        return {**said, "special_tokens": tokens}
    if kind in ("BertProcessing", "RobertaProcessing"):
        return {**said, **{name: [said[name][0], place[said[name][1]]] for name in ("sep", "cls")}}
    if kind not in (None, "ByteLevel"):
        raise ModelError(f"what this tokenizer puts around a text is a {kind}", expected="a template of tokens")
    return said


def _written(tokenizer: Any, rules: Mapping[str, Any]) -> Any:
    """A tokenizer by other rules, with the roles, the template and the length of another."""
    from tokenizers import Tokenizer

    roles = {role: getattr(tokenizer, role) for role in _ROLES if getattr(tokenizer, role, None) is not None}
    made = transformers().PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)),
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        **roles,
    )
    made.chat_template = tokenizer.chat_template
    return made


def _pieces(corpus: Path) -> Iterator[str]:
    """A file's text some lines at a time; a piece ends before a line that begins with no space."""
    lines: list[str] = []
    characters = 0
    with corpus.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if characters > _CHARACTERS and not line[:1].isspace():
                yield "".join(lines)
                lines, characters = [], 0
            lines.append(line)
            characters += len(line)
    if lines:
        yield "".join(lines)
