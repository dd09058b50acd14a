"""Small tokenizers of real libraries, trained on a few sentences, with the chat templates people use."""

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
