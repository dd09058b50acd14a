"""Small tokenizers of real libraries, trained on a few sentences, with the chat templates people use."""

import json
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SENTENCES = (
    "The cat sat on the mat, and the dog sat by the door.",
    "A house of stone stands by the river; nobody lives there any more.",
    "What is two and two? Two and two is four.",
    "She wrote a letter to her brother in the north.",
    "Grüße aus Köln! The naïve café owner paid 100 €.",
)
SPECIAL = ("<|end|>", "<|begin|>", "<|im_start|>", "<|im_end|>")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|im_end|>{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def _trained() -> str:
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    found.train_from_iterator(SENTENCES * 4, trainer)
    return found.to_str()


@cache
def pieces(size: int = 200) -> PreTrainedTokenizerFast:
    """Sentence pieces, each word with its space before it, and bytes for what has none; a text begins with <s>."""
    found = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    found.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    found.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    special = ["<unk>", "<s>", "</s>"]
    words = ["The cat sat on the mat by the door.", "stone river letter brother two four nobody there"]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    found.train_from_iterator(words * 4, trainer)
    # The trainer knows no bytes: they are written behind what it found.
    said = json.loads(found.to_str())
    known = said["model"]["vocab"]
    known.update({byte: len(known) + place for place, byte in enumerate(bytes_)})
    found = Tokenizer.from_str(json.dumps(said))
    found.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=found, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@cache
def coarse() -> PreTrainedTokenizerFast:
    """Another byte-level tokenizer, of fewer merges on another text, that puts a token before a text."""
    found = Tokenizer(models.BPE())
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=310,
        special_tokens=["[end]", "[begin]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    found.train_from_iterator([*SENTENCES[::-1], "riverbank letters norther foursome catty"] * 3, trainer)
    found.post_processor = processors.TemplateProcessing(single="[begin] $A", special_tokens=[("[begin]", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=found, bos_token="[begin]", eos_token="[end]")


def tokenizer(
    *, bos: bool = False, eos: str | None = "<|end|>", template: str | None = CHATML
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 360 tokens; with `bos` its post-processor puts <|begin|> before a text, as Llama's does."""
    rules = Tokenizer.from_str(_trained())
    if bos:
        rules.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B", special_tokens=[("<|begin|>", 1)]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=rules, bos_token="<|begin|>" if bos else None, eos_token=eos, pad_token=eos
    )
    made.chat_template = template
    return made


def folder(place: Path, **said) -> str:
    """Saves such a tokenizer; what a recipe calls it."""
    place.mkdir(parents=True, exist_ok=True)
    tokenizer(**said).save_pretrained(str(place))
    return f"hf:{place}"
