"""What a language model is asked, as tokens: plain prompts, and conversations whose next turn is the assistant's."""

from collections.abc import Sequence
from typing import Any

from limbeck.data.conversations import Messages, Template, checked
from limbeck.data.encoding import Ends, encoded
from limbeck.errors import DataError
from limbeck.recipe import Tokens


def asked(reads: Any, said: Tokens, prompts: Sequence[str | Messages]) -> tuple[list[list[int]], set[int]]:
    """The tokens of prompts, as they stand before completions and answers in training.

    Args:
        reads: The tokenizer.
        said: How text became rows.
        prompts: Texts; or lists of messages, {"role": ..., "content": ...}, of which the last is not the assistant's.

    Returns:
        Tokens of each prompt; and the tokens that end an answer to one of the conversations, where there are any.

    Raises:
        DataError: When a prompt is empty, no text and no messages, or the tokenizer has no template for messages.
    """
    template: Template | None = None
    ends = Ends.of(reads, said)
    found = []
    for place, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            tokens = ends.before(next(encoded(reads, [prompt]))) if prompt else []
        else:
            template = template or Template(reads, said.tokenizer)
            messages = checked(prompt, asked=True)
            tokens_or_why = messages if isinstance(messages, str) else template.question(messages)
            if isinstance(tokens_or_why, str):
                raise DataError(f"the prompt {place} {tokens_or_why}")
            tokens = tokens_or_why
        if not tokens:
            raise DataError(f"the prompt {place} of {len(prompts)} is empty", expected="a text to go on with")
        found.append(tokens)
    return found, set() if template is None else {template.end}
