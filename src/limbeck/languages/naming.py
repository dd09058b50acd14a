"""How the tokens of a vocabulary are spelled: the bytes each stands for, and what others call it.

Two spellings are known. Byte-level vocabularies write each byte as a letter (Radford et al., 2019, the code of GPT-2,
https://github.com/openai/gpt-2/blob/master/src/encoder.py. Read: memory). Those of SentencePiece write a space as
U+2581 and a byte that is no letter as <0xNN> (Kudo and Richardson, 2018, https://arxiv.org/abs/1808.06226. Read:
memory).
"""

from collections.abc import Sequence
from functools import cached_property

from limbeck.languages.spelling import byte_signs, bytes_of

_MOST = 192
NOBODY = -1
"""What several tokens are called is the name of none."""


class Spelling:
    """What the tokens of a vocabulary stand for.

    Args:
        texts: The tokens as the vocabulary writes them, in the order of their numbers.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        # A vocabulary of words has some letters of its own, a byte-level one nearly all 256: SmolLM2's lacks bytes that
        # are in no text of UTF-8.
        self._bytes = len(set(byte_signs()) & set(texts)) > _MOST

    def of(self, token: int) -> bytes:
        """The bytes that a token stands for; for a special token those of its name."""
        return bytes_of(self.texts[token], by_byte=self._bytes)

    def text(self, tokens: Sequence[int]) -> str | None:
        """The text of some tokens; None where it ends or begins within a letter."""
        try:
            return b"".join(map(self.of, tokens)).decode()
        except UnicodeDecodeError:
            return None

    def names(self, token: int) -> set[str]:
        """What a server may call a token: as the vocabulary does, as text, by its bytes or by its number."""
        said = self.of(token)
        return {
            self.texts[token],
            said.decode(errors="replace"),
            said.decode(errors="ignore"),
            "bytes:" + "".join(f"\\x{byte:02x}" for byte in said),
            f"token_id:{token}",
        }

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The token of each name; `NOBODY` where it is the name of several."""
        found: dict[str, int] = {}
        for token in range(len(self.texts)):
            for name in self.names(token):
                found[name] = token if name not in found else NOBODY
        return found
