"""Methods on transformers where the mask counts positions, on real attention, and what they refuse."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from method_cases import built, changed, loss_and_gradients, reference_of, same, tensors_of
from reference import Case, Said, case
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from limbeck.catalog.objectives import objective
from limbeck.errors import ModelError, ObjectiveError
from limbeck.heads import attended, projected, relations, visible
from limbeck.model import Model
from limbeck.signals import Batch, Signals
from limbeck.students.transformer import build
from limbeck.taps import listen, taps
from limbeck.tasks.classification import Classification

# The last position of row 1 and all of row 2 stand for nothing.
POSITIONS = torch.tensor([[True, True, True], [True, True, False], [False, False, False], [True, False, True]])
LISTS = ("q", "k", "v", "h", "e")
METHODS = {
    "minilm": {"student_layers": LISTS[:3], "teacher_layers": ("Q", "K", "V"), "heads": 2, "teacher_prefix": 1},
    "minilmv2": {"student_layers": LISTS[:3], "teacher_layers": ("Q", "K", "V"), "heads": 1, "teacher_prefix": 1},
    "patient": {"student_layers": ("h",), "teacher_layers": ("H",), "of": "mean", "teacher_prefix": 1},
    "tinybert": {
        "student_hidden": ("h",),
        "teacher_hidden": ("H",),
        "student_attention": (("q", "k"),),
        "teacher_attention": (("Q", "K"),),
        "heads": 2,
        "student_embedding": "e",
        "teacher_embedding": "E",
        "teacher_prefix": 1,
    },
}


def by_position(arguments: dict[str, Any]) -> Case:
    made = case(arguments, student=dict.fromkeys(LISTS, (3, 2)), teacher=dict.fromkeys("QKVHE", (4, 2)), rows=4, seed=1)
    logits = torch.randn(4, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    student, teacher = (Signals.dense(logits, said.features) for said in (made.student, made.teacher))
    batch = replace(made.batch, labels=None, mask=POSITIONS, known=torch.zeros_like(POSITIONS))
    return Case(arguments, student, teacher, batch)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("causal", [False, True])
def test_positions_that_count_are_the_reference_and_padding_changes_nothing(name: str, causal: bool) -> None:
    if causal and name == "patient":
        pytest.skip("nothing attends in it")
    made_of = by_position(METHODS[name] | ({"causal": True} if causal else {}))
    made = built(name, made_of)
    plain = {key: tensor.tolist() for key, tensor in made.state_dict().items()}
    expected = reference_of(name).value(
        Said.of(made_of.student), Said.of(made_of.teacher), made_of.batch, plain, **made_of.arguments
    )
    value = made(made_of.student, made_of.teacher, made_of.batch)
    same(value[POSITIONS], torch.tensor(expected, dtype=torch.float64)[POSITIONS], 1e-10)
    total, found = loss_and_gradients(made, made_of.student, made_of.teacher, made_of.batch)
    for change in (lambda tensor: padded(tensor, 0.0), lambda tensor: padded(tensor, 1e30)):
        spoilt = [changed(said, change) for said in (made_of.student, made_of.teacher)]
        other, gradients = loss_and_gradients(made, *spoilt, made_of.batch)
        same(other, total)
        for key, gradient in gradients.items():
            same(gradient, found[key])
            if key in tensors_of(made_of.student):
                assert (gradient[~POSITIONS] == 0).all()


def padded(tensor: Tensor, size: float) -> Tensor:
    """Rubbish in the positions that do not count; leading tokens of a teacher are before them and stay."""
    outside = torch.cat([torch.zeros(4, tensor.shape[1] - 3, dtype=torch.bool), ~POSITIONS], dim=1)
    return torch.where(outside[..., None], size, tensor)


def weights_of(network: nn.Module, layers: tuple[str, ...], inputs: Tensor, heads: int, causal: bool) -> Tensor:
    """Attention as Limbeck reads it from what layers say, applied to the values: (rows, tokens, width)."""
    rows = Batch.of(inputs, None, Classification())
    with torch.no_grad(), taps(network, layers) as caught:
        network(inputs)
    said = Signals(features=dict(caught))
    queries, keys, values = projected(said, layers, 0, rows)
    weights = attended(relations(queries, keys, heads), visible(rows, queries.shape[1], causal)).exp()
    return (weights @ values.unflatten(-1, (heads, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("causal", [False, True])
def test_a_fused_layer_is_read_as_our_transformer_reads_it(causal: bool) -> None:
    torch.manual_seed(0)
    network, inputs = build((2, 24), 3, size=8, heads=2, depth=1, patch=4, causal=causal).eval(), torch.randn(3, 2, 24)
    entered: list[Tensor] = []
    network.get_submodule("layer1.attention.out").register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    mixed = weights_of(network, ("layer1.attention.projections",), inputs, 2, causal)
    same(mixed, entered[0], 1e-5)


@pytest.mark.slow
def test_named_layers_are_read_as_hugging_faces_bert_reads_them() -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    bert = BertModel(BertConfig(vocab_size=11, **sizes), add_pooling_layer=False).eval()
    inside = "encoder.layer.0.attention"
    entered: list[Tensor] = []
    bert.get_submodule(f"{inside}.output.dense").register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    layers = tuple(f"{inside}.self.{part}" for part in ("query", "key", "value"))
    mixed = weights_of(bert, layers, torch.randint(11, (3, 5)), 2, False)
    same(mixed, entered[0], 1e-5)


@pytest.mark.slow
def test_a_fused_layer_is_read_as_timms_vit_reads_it() -> None:
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2, "num_classes": 3}
    vit = timm.models.vision_transformer.VisionTransformer(**sizes).eval()
    entered: list[Tensor] = []
    vit.get_submodule("blocks.0.attn.proj").register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    mixed = weights_of(vit, ("blocks.0.attn.qkv",), torch.randn(2, 3, 8, 8), 2, False)
    same(mixed, entered[0], 1e-5)


def test_our_transformers_teach_each_other() -> None:
    torch.manual_seed(0)
    student = Model(build((1, 16), 3, size=8, heads=2, depth=1, patch=4))
    teacher = Model(build((1, 16), 3, size=12, heads=2, depth=2, patch=4)).eval()
    fused = "('layer1.attention.projections',), ('layer2.attention.projections',)"
    wanted = objective(
        f"minilm({fused}, heads=2) + minilmv2({fused}, heads=4) + tinybert(student_hidden=('layer1',), "
        "teacher_hidden=('layer2',), student_embedding='stem', teacher_embedding='stem')"
    )
    inputs, needs = torch.randn(4, 1, 16), wanted.needs()
    batch = Batch.of(inputs, None, Classification())
    with torch.no_grad():
        heard = listen(teacher, inputs, needs.teacher_layers)
    wanted.setup(listen(student, inputs, needs.student_layers), heard, batch)
    optimizer = torch.optim.AdamW([*student.parameters(), *wanted.parameters()], lr=0.01)
    losses = []
    for _ in range(20):
        loss = wanted.loss(listen(student, inputs, needs.student_layers), heard, batch).total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("minilm(('q', 'k'), ('Q', 'K', 'V'), heads=2)", "was given the layers"),
        ("minilmv2(('q', 'k'), ('Q', 'K', 'V'), heads=2)", "was given the layers"),
        ("minilm('qkv', ('Q', 'K', 'V'), heads=2)", "valid tuple"),
        ("patient(('a', 'b'), ('A',))", "student_layers="),
        ("patient(('a',), ('A',), student_prefix=1)", "takes the first token"),
        ("tinybert()", "given no layer"),
        ("tinybert(student_hidden=('a',))", "student_hidden"),
        ("tinybert(student_embedding='a')", "student_embedding"),
        ("tinybert(student_attention=(('q', 'k'),), teacher_attention=(('Q', 'K'),))", "no heads"),
        ("tinybert(student_attention=('q', 'k'), teacher_attention=('Q', 'K'), heads=2)", "valid tuple"),
    ],
)
def test_wrong_layers_are_refused_where_they_are_written(text: str, what: str) -> None:
    with pytest.raises(ObjectiveError, match=what):
        objective(text)


@pytest.mark.parametrize(
    ("text", "student", "what"),
    [
        ("minilm(('q', 'k', 'v'), ('q', 'k', 'v'), heads=3)", (3, 4), "3 heads cannot relate tokens of 4 numbers"),
        ("minilm(('q',), ('q', 'k', 'v'), heads=2)", (3, 4), "4 numbers a token, which are no queries"),
        ("minilmv2(('q', 'k', 'v'), ('q', 'k', 'v'), heads=2)", (2, 4), "token with token"),
        ("minilm(('q', 'k', 'v'), ('q', 'k', 'v'), heads=2)", (4,), "compares tokens"),
        ("patient(('q',), ('q',))", (3, 6), "cannot compare q"),
        ("tinybert(student_hidden=('q', 'x'), teacher_hidden=('q', 'k'))", (3, 4), "several widths"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_on_the_dry_batch(text: str, student: tuple[int, ...], what: str) -> None:
    shapes = {"q": student, "k": student, "v": student, "x": (3, 5)}
    given = case(student=shapes, teacher=dict.fromkeys("qkv", (3, 4)))
    made = objective(text)

    def dry() -> None:
        made.setup(given.student, given.teacher, given.batch)
        made(given.student, given.teacher, given.batch)

    with pytest.raises(ObjectiveError, match=what):
        dry()


@pytest.mark.parametrize("layer", ["attention", "attention.in_proj_weight", "attention.q_proj", "attention.out_proj"])
def test_torchs_attention_is_refused_with_a_way_out(layer: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.attention(inputs, inputs, inputs)[0]

    network, inputs = Network().eval(), torch.randn(2, 3, 4)
    with pytest.raises(ModelError, match=r"MultiheadAttention[\s\S]*copy in_proj_weight and in_proj_bias"):
        with taps(network, [layer]):
            network(inputs)
    with taps(network, ["attention[0]"]) as caught:
        network(inputs)
    assert caught["attention[0]"].shape == (2, 3, 4)


def test_torchs_attention_unfused_as_the_remedy_says_answers_the_same() -> None:
    class Unfused(nn.Module):
        def __init__(self, fused: nn.MultiheadAttention) -> None:
            super().__init__()
            self.heads, self.out = fused.num_heads, fused.out_proj
            self.qkv = nn.Linear(fused.embed_dim, 3 * fused.embed_dim)
            self.qkv.load_state_dict({"weight": fused.in_proj_weight, "bias": fused.in_proj_bias})

        def forward(self, inputs: Tensor) -> Tensor:
            parts = self.qkv(inputs).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            return self.out(scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))

    torch.manual_seed(0)
    fused, inputs = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(2, 3, 8)
    nn.init.normal_(fused.in_proj_bias)
    expected = fused(inputs, inputs, inputs, need_weights=False)[0]
    same(Unfused(fused)(inputs), expected, 1e-5)
