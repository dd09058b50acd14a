"""Planted bugs in methods on transformers; `test_mutations.py` plants each."""

from mutations import Mutation

METHODS, PLACES = "test_objectives.py", "test_transformer_methods.py"

MUTATIONS_OF_TRANSFORMERS = [
    Mutation(
        "scores divided by the model's width",
        "heads.py",
        (("math.sqrt(width // heads)", "math.sqrt(width)"),),
        METHODS,
        "reference and minilm",
    ),
    Mutation(
        "heads are strided, not side by side",
        "heads.py",
        (("part.unflatten(-1, (heads, -1)).transpose(1, 2)", "part.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)"),),
        METHODS,
        "reference and minilm",
    ),
    Mutation(
        "a fused layer read as values, keys, queries",
        "heads.py",
        (("return said[0].split(width // 3, dim=-1)", "return said[0].split(width // 3, dim=-1)[::-1]"),),
        PLACES,
        "our_transformer_reads_it",
    ),
    Mutation(
        "padding is attended to",
        "heads.py",
        (("seen = seen & batch.mask[:, None, :]", "seen = seen & batch.mask.any()"),),
        PLACES,
        "padding_changes_nothing",
    ),
    Mutation(
        "causal looks ahead",
        "heads.py",
        (("seen = seen.tril()", "seen = seen.triu()"),),
        PLACES,
        "our_transformer_reads_it",
    ),
    Mutation(
        "minilm swaps teacher and student",
        "objectives/minilm.py",
        (("kl(taught, learnt)", "kl(learnt, taught)"),),
        METHODS,
        "reference and minilm",
    ),
    Mutation(
        "minilm without value relations",
        "objectives/minilm.py",
        (("            ((values, values), (their_values, their_values)),\n", ""),),
        METHODS,
        "reference and minilm",
    ),
    Mutation(
        "minilmv2 sums heads",
        "objectives/minilmv2.py",
        (("kl(taught, learnt).mean(dim=1)", "kl(taught, learnt).sum(dim=1)"),),
        METHODS,
        "reference and minilmv2",
    ),
    Mutation(
        "minilmv2 lets the teacher learn",
        "objectives/minilmv2.py",
        (("their.detach().to(own.dtype)", "their.to(own.dtype)"),),
        METHODS,
        "never_the_teacher and minilmv2",
    ),
    Mutation(
        "tinybert compares attention after the softmax",
        "objectives/tinybert.py",
        (
            (
                "squares = torch.where(seen, (learnt - taught).square(), 0.0)",
                "squares = torch.where(seen, (learnt.softmax(dim=-1) - taught.softmax(dim=-1)).square(), 0.0)",
            ),
        ),
        METHODS,
        "reference and tinybert",
    ),
    Mutation(
        "tinybert sums over the width",
        "objectives/tinybert.py",
        (("(learnt - taught).square().mean(dim=-1)", "(learnt - taught).square().sum(dim=-1)"),),
        METHODS,
        "reference and tinybert",
    ),
    Mutation(
        "patient without directions",
        "objectives/patient.py",
        (("(unit(learnt) - unit(taught))", "(learnt - taught)"),),
        METHODS,
        "reference and patient",
    ),
    Mutation(
        "patient averages padding",
        "objectives/patient.py",
        (("tokens(signals, layer, prefix, batch).sum(dim=1)", "wide(signals.features[layer])[:, prefix:].sum(dim=1)"),),
        PLACES,
        "padding_changes_nothing",
    ),
]
