"""Small causal language models: blocks of attention and gated feed-forward layers, as in Llama and SmolLM2."""

from torch import nn

from limbeck.errors import ModelError
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.places import transformers


def build(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    depth: int = 6,
    size: int = 256,
    heads: int = 4,
    groups: int = 0,
    inner: int = 0,
    context: int = 2048,
    tied: bool = True,
) -> nn.Module:
    """Builds a language model of `depth` blocks of `size` numbers a token, with new weights.

    Rotary positions, RMS normalisation, gated SiLU layers (Touvron et al., 2023, https://arxiv.org/abs/2302.13971,
    section 2.2; read: memory), in transformers' own code. The submodules are `body`, with `body.layers.0` and so on,
    and `head`. With V tokens, size W, inner width I, H heads, G groups and depth L it has
    V * W * (1 or, untied, 2) + L * (2 * W * W + 2 * W * W * G / H + 3 * W * I + 2 * W) + W parameters.

    Args:
        inputs: Shape of one row: (2, length), tokens and the numbers of their documents.
        outputs: How many tokens there are.
        depth: How many blocks.
        size: Numbers that say a token, a multiple of twice the heads.
        heads: Heads of attention.
        groups: Heads that say keys and values, a divisor of `heads`; 0: as many as heads.
        inner: Width of the feed-forward layers; 0: 8/3 of `size`, rounded up to a multiple of 32.
        context: The longest document, in tokens.
        tied: Whether the head's weight is the embedding's.

    Raises:
        ModelError: If the rows are no tokens, or a number is out of range.
    """
    _check(inputs, {"depth": depth, "size": size, "heads": heads, "context": context, "outputs": outputs})
    if groups < 0 or inner < 0 or size % (2 * heads) or heads % (groups or heads):
        raise ModelError(
            f"causal was asked for size={size}, heads={heads}, groups={groups}, inner={inner}",
            expected="a size that is a multiple of 2 * heads, and groups that divide the heads",
        )
    library = transformers()
    config = library.LlamaConfig(
        vocab_size=outputs,
        hidden_size=size,
        intermediate_size=inner or -(-8 * size // 3 // 32) * 32,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=groups or heads,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return LanguageNetwork(library.LlamaForCausalLM._from_config(config))


def _check(inputs: tuple[int, ...], given: dict[str, int]) -> None:
    if len(inputs) != 2 or inputs[0] != 2:
        raise ModelError(
            f"causal was asked for rows of shape {tuple(inputs)}",
            expected="(2, length): tokens, and the numbers of their documents",
            remedy="task: language, and data.tokens says how text becomes rows",
        )
    for name, count in given.items():
        if count < 1:
            raise ModelError(f"causal was asked for {name}={count}", expected="1 or more")
