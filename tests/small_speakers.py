"""Tiny causal models with random weights, of families that differ in how they know positions, masks and heads."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

SYMBOLS = 97
_SIZES = {
    "vocab_size": SYMBOLS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT2 = {"vocab_size": SYMBOLS, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "eos_token_id": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _SIZES,
    "mistral": {**_SIZES, "sliding_window": 4},
    "qwen2": {**_SIZES, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "qwen3": {**_SIZES, "tie_word_embeddings": True},
    "gemma": _SIZES,
    "gemma3_text": {**_SIZES, "sliding_window": 4},
    "gpt2": _GPT2,
    "gpt_neox": _SIZES,
    "granite": {**_SIZES, "logits_scaling": 8.0},
    "cohere": _SIZES,
    # Positions come from the mask, or the mask is made without positions: one of four dimensions is built for these.
    "opt": {
        "vocab_size": SYMBOLS,
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 16,
    },
    "falcon": {"vocab_size": SYMBOLS, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    # These cannot keep documents apart: a state that goes on, a bias and a mask of their own.
    "mamba": _SIZES,
    "bloom": {"vocab_size": SYMBOLS, "hidden_size": 32, "n_layer": 3, "n_head": 4},
    "gpt_oss": {**_SIZES, "num_local_experts": 4, "num_experts_per_tok": 2},
    # These bend their logits, or are not causal.
    "gemma2": _SIZES,
    "nanochat": _SIZES,
    "bert": {"vocab_size": SYMBOLS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
}
FAMILIES["bert"]["num_attention_heads"] = 4


def causal(family: str, *, seed: int = 0, attention: str = "eager", double: bool = True, **changed: Any) -> Any:
    """A model of transformers, in eval mode; float64 unless told otherwise."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = AutoConfig.for_model(family, **{**FAMILIES[family], **changed})
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=torch.float32)
    return (model.double() if double else model).eval()


def row(*documents: list[int], length: int = 0, before: int = 0, between: int = 0) -> torch.Tensor:
    """One row of the form that language models read: tokens, and the number of each token's document."""
    tokens, numbers = [5] * before, [0] * before
    for number, document in enumerate(documents, start=1):
        tokens += document + [5] * between
        numbers += [number] * len(document) + [0] * between
    missing = max(length - len(tokens), 0)
    return torch.tensor([tokens + [5] * missing, numbers + [0] * missing])


TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}"


def tokenizer(count: int = 90, *, start: int = 0, template: str | None = TEMPLATE, **special: str) -> Any:
    """A tokenizer of `count` tokens: four special ones, then the words w0, w1 and so on from `start`."""
    words = ["<unk>", "<s>", "</s>", "<pad>"] + [f"w{number}" for number in range(start, start + count - 4)]
    model = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    model.pre_tokenizer = WhitespaceSplit()
    roles = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", **special}
    made = PreTrainedTokenizerFast(tokenizer_object=model, **roles)
    made.chat_template = template
    return made


def folder(place: Path, family: str = "llama", *, known: Any = None, **changed: Any) -> Any:
    """Writes a model, and a tokenizer of fewer tokens than it has rows, as transformers does; gives the model."""
    model = causal(family, double=False, **changed)
    model.save_pretrained(place)
    (tokenizer() if known is None else known).save_pretrained(place)
    return model
