"""The bytes that each token stands for: what two tokenizers of one text have in common."""

import importlib
import json
import re
from functools import lru_cache
from typing import Any

from limbeck.errors import ModelError

_SPACE = "▁"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@lru_cache(maxsize=1)
def byte_signs() -> dict[str, int]:
    """The sign by which a byte-level vocabulary writes each byte, as GPT-2's tokenizer does."""
    # transformers has a function of the module's name, which an ordinary import would find.
    table: Any = importlib.import_module("transformers.convert_slow_tokenizer")
    return {sign: byte for byte, sign in table.bytes_to_unicode().items()}


def spelt(tokenizer: Any) -> tuple[bytes, ...]:
    """The bytes of every token, in the order of their numbers; tokens that were added are their own text.

    A sentence-piece token's mark of a space is a space; whether a text's first one was there is for the reader to know.

    Args:
        tokenizer: Of transformers, with rules that are written down (a fast one).

    Raises:
        ModelError: When its tokens are neither byte-level nor sentence pieces, so that what they spell is not known.
    """
    rules = getattr(tokenizer, "backend_tokenizer", None)
    said = {} if rules is None else json.loads(rules.to_str())
    decoder = json.dumps(said.get("decoder"))
    by_byte = '"ByteLevel"' in decoder
    if not by_byte and _SPACE not in decoder and "\\u2581" not in decoder and '"Metaspace"' not in decoder:
        raise ModelError(
            f"what the tokens of this {type(tokenizer).__name__} spell is not known",
            expected="a byte-level tokenizer, such as GPT-2's, or one of sentence pieces",
            remedy="teacher and student with one tokenizer",
        )
    added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
    vocabulary = tokenizer.get_vocab()
    found = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for text, number in vocabulary.items():
        if number in added:
            found[number] = added[number].encode()
        else:
            found[number] = bytes_of(text, by_byte=by_byte)
    return tuple(found)


def bytes_of(text: str, *, by_byte: bool) -> bytes:
    """The bytes that a token stands for.

    Args:
        text: As the vocabulary writes it.
        by_byte: Whether the vocabulary writes each byte as a sign; otherwise it is one of sentence pieces. A text with
            another sign is its own.
    """
    signs = byte_signs()
    if by_byte:
        return bytes(signs[sign] for sign in text) if all(sign in signs for sign in text) else text.encode()
    byte = _BYTE.fullmatch(text)
    return bytes([int(byte[1], 16)]) if byte else text.replace(_SPACE, " ").encode()
