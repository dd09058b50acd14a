"""The networks for series: sizes in closed form, what an answer may know, steps one after another, and ONNX."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import same
from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import ModelError
from limbeck.model import Model
from limbeck.students import gru, tcn, transformer
from limbeck.taps import listen

Build = Callable[..., nn.Module]
Options = Mapping[str, Any]
FAMILIES: list[Build] = [tcn.build, gru.build, transformer.build]

# Small ones of every kind; rows of (channels, steps) with 1 channel, 1 step, fewer steps than a kernel or a patch has,
# odd and even numbers, and a number that patches do not divide.
KINDS: list[tuple[Build, Options]] = [
    (tcn.build, {}),
    (tcn.build, {"kernel": 2, "separable": True}),
    (tcn.build, {"kernel": 4, "depth": 1}),
    (gru.build, {"depth": 2}),
    (transformer.build, {"patch": 3}),
    (transformer.build, {"patch": 1, "causal": True}),
    (transformer.build, {"patch": 4, "causal": True}),
]
CAUSAL = [(build, options) for build, options in KINDS if build is not transformer.build or "causal" in options]
ROWS = [(1, 1), (3, 1), (1, 2), (2, 3), (1, 12), (3, 13)]


def small(build: Build, inputs: tuple[int, ...], seed: int = 0, **options: Any) -> nn.Module:
    """A network in eval mode and float64, whose batch statistics and learnt first answers are not the initial ones."""
    torch.manual_seed(seed)
    heads = {"heads": 2, "depth": 2} if build is transformer.build else {}
    made = build(inputs, 5, **{"size": 8, **heads, **options}).double()
    for name, tensor in made.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith(("running_mean", "norm.weight", "norm.bias", "head.first")):
            tensor.normal_()
    return made.eval()


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def refused(build: Build, inputs: tuple[int, ...], options: Options) -> bool:
    """Causal answers to each step know full patches only, so that there must be one."""
    return bool(options.get("causal")) and inputs[1] < options["patch"]


# Sizes


@pytest.mark.parametrize(("size", "depth", "kernel"), [(4, 1, 2), (8, 3, 3), (6, 2, 5)])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 10), (3, 7)])
def test_tcn_parameter_counts(size: int, depth: int, kernel: int, channels: int, outputs: int) -> None:
    options, s, k = {"size": size, "depth": depth, "kernel": kernel}, size, kernel
    # Convolution by convolution, each with two numbers a channel for its norm.
    dense, light = channels * s * k + 2 * s, channels * s * k + 2 * s
    for _ in range(2 * depth):
        dense += s * s * k + 2 * s
        light += (s * k + 2 * s) + (s * s + 2 * s)
    head = s * outputs + outputs
    assert parameters(tcn.build((channels, 20), outputs, **options)) == dense + head
    assert parameters(tcn.build((channels, 20), outputs, separable=True, per_step=True, **options)) == light + head
    # As the docstring prints it.
    assert dense + head == k * channels * s + 2 * s + 2 * depth * (k * s**2 + 2 * s) + (s + 1) * outputs
    assert light + head == k * channels * s + 2 * s + 2 * depth * (s**2 + (k + 4) * s) + (s + 1) * outputs


@pytest.mark.parametrize(("size", "depth"), [(4, 1), (8, 3)])
@pytest.mark.parametrize("per_step", [False, True])
def test_gru_parameter_counts(size: int, depth: int, per_step: bool) -> None:
    s = size
    expected = 3 * s * (2 + s + 2) + (depth - 1) * 3 * s * (2 * s + 2) + (s + 1) * 7
    assert parameters(gru.build((2, 20), 7, size=size, depth=depth, per_step=per_step)) == expected


@pytest.mark.parametrize(("size", "depth", "patch"), [(4, 1, 1), (8, 3, 5)])
@pytest.mark.parametrize("causal", [False, True])
def test_transformer_parameter_counts(size: int, depth: int, patch: int, causal: bool) -> None:
    options = {"size": size, "depth": depth, "patch": patch, "heads": 2, "causal": causal}
    s, head = size, (size + 1) * 7
    layer = 2 * s + 3 * s * s + (s * s + s) + 2 * s + (2 * s * s + 2 * s) + (2 * s * s + s)
    body = 3 * patch * s + s + depth * layer + 2 * s
    assert layer == 8 * (s**2 + s)
    assert parameters(transformer.build((3, 20), 7, **options)) == body + head
    learnt = (patch - 1) * 7 if causal else 0
    assert parameters(transformer.build((3, 20), 7, per_step=True, **options)) == body + patch * head + learnt


def test_counts_that_the_docstrings_promise() -> None:
    assert parameters(tcn.build((1, 128), 10)) == 38_122
    assert parameters(tcn.build((1, 128), 10, separable=True)) == 15_466
    assert parameters(gru.build((1, 128), 10)) == 13_514
    assert parameters(transformer.build((1, 128), 10)) == 101_194


# Shapes, and that every input and every weight counts


@pytest.mark.parametrize(("build", "options"), KINDS)
@pytest.mark.parametrize("inputs", ROWS)
def test_a_row_alone_equals_the_row_in_a_batch(build: Build, options: Options, inputs: tuple[int, ...]) -> None:
    rows = torch.randn(3, *inputs, dtype=torch.float64)
    for per_step, shape in ((False, (3, 5)), (True, (3, inputs[1], 5))):
        if per_step and refused(build, inputs, options):
            continue
        model = small(build, inputs, per_step=per_step, **options)
        together = model(rows)
        assert together.shape == shape
        same(torch.cat([model(row[None]) for row in rows]), together, 1e-10)
        assert not torch.allclose(together[0], together[1]), "different rows must not give the same answer"


@pytest.mark.parametrize(
    ("build", "options"), [kind for kind in KINDS if "depth" not in kind[1] or kind[0] != tcn.build]
)
@pytest.mark.parametrize("inputs", ROWS)
def test_every_input_moves_the_answer(build: Build, options: Options, inputs: tuple[int, ...]) -> None:
    # Many rows and channels: a ReLU that is shut for one row is open for another.
    rows = torch.randn(64, *inputs, dtype=torch.float64, requires_grad=True)
    small(build, inputs, size=16, **options)(rows).square().sum().backward()
    assert rows.grad is not None
    assert (rows.grad.abs().sum(0) > 0).all(), "some input has no way to the answer"


@pytest.mark.parametrize(("build", "options"), KINDS)
@pytest.mark.parametrize("per_step", [False, True])
def test_every_parameter_learns(build: Build, options: Options, per_step: bool) -> None:
    model = small(build, (2, 40), per_step=per_step, **options).float().train()
    model(torch.randn(16, 2, 40)).square().sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


@pytest.mark.parametrize("build", FAMILIES)
def test_students_can_learn_by_heart(build: Build) -> None:
    model = small(build, (2, 16), size=16).float().train()
    rows, labels = torch.randn(10, 2, 16, generator=torch.Generator().manual_seed(1)), torch.arange(10) % 5
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(80):
        loss = functional.cross_entropy(model(rows), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(rows).argmax(1) == labels).all()


@pytest.mark.parametrize("build", FAMILIES)
def test_initial_weights_follow_the_seed(build: Build) -> None:
    rows = torch.randn(2, 2, 16, dtype=torch.float64)
    first, again, other = (small(build, (2, 16), seed)(rows) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("build", FAMILIES)
def test_dropout_acts_in_training_only(build: Build) -> None:
    rows = torch.randn(2, 2, 16, dtype=torch.float64)
    with_it, without = (small(build, (2, 16), dropout=chance) for chance in (0.5, 0.0))
    assert torch.equal(with_it(rows), without(rows))
    assert not torch.equal(with_it.train()(rows), without.train()(rows))


# Tap points


@pytest.mark.parametrize(("build", "tokens"), [(tcn.build, 18), (gru.build, 18), (transformer.build, 3)])
@pytest.mark.parametrize("per_step", [False, True])
def test_layers_have_stable_names_and_say_steps_before_width(build: Build, tokens: int, per_step: bool) -> None:
    model = small(build, (2, 18), depth=3, per_step=per_step)
    names = [name for name, _ in model.named_children()]
    assert names == ["stem", "layer1", "layer2", "layer3", "head"]
    said = listen(Model(model, nn.Identity()), torch.randn(4, 2, 18, dtype=torch.float64), names[1:4])
    assert [tuple(feature.shape) for feature in said.features.values()] == [(4, tokens, 8)] * 3


# What an answer may know


@pytest.mark.parametrize(("build", "options"), CAUSAL)
@pytest.mark.parametrize("inputs", [(1, 1), (1, 2), (2, 4), (1, 12), (3, 13)])
def test_a_step_never_moves_an_earlier_answer(build: Build, options: Options, inputs: tuple[int, ...]) -> None:
    """Each step in turn is replaced by something else, huge ones included, and is seen no sooner than it happens."""
    if refused(build, inputs, options):
        return
    model, rows = small(build, inputs, per_step=True, **options), torch.randn(2, *inputs, dtype=torch.float64)
    answers, lag = model(rows), options.get("patch", 1) - 1
    for step in range(inputs[1]):
        moved = rows.clone()
        moved[:, :, step] = 1e3 * torch.randn(2, inputs[0], dtype=torch.float64)
        change = (model(moved) - answers).abs().amax(dim=(0, 2))
        assert torch.equal(change[:step], torch.zeros(step, dtype=torch.float64))
        # It is seen when its patch is full, at the latest `patch` - 1 steps on.
        full = step + lag - (step % (lag + 1))
        assert not change[step:full].any()
        assert full >= inputs[1] or change[full] > 0


@pytest.mark.parametrize(("build", "options"), CAUSAL)
def test_growing_prefixes_give_the_same_answers(build: Build, options: Options) -> None:
    """What a device that sees step after step would say is what the whole row says."""
    model, rows = small(build, (2, 21), per_step=True, **options), torch.randn(2, 2, 21, dtype=torch.float64)
    whole = model(rows)
    for steps in range(1, 22):
        same(model(rows[:, :, :steps]), whole[:, :steps], 1e-11)


@pytest.mark.parametrize(("build", "options"), [kind for kind in CAUSAL if kind[1].get("patch", 1) == 1])
def test_the_answer_to_a_row_is_that_to_its_last_step(build: Build, options: Options) -> None:
    """Where a token is a step, so that both heads have the same weights."""
    row, step = (small(build, (2, 9), per_step=per_step, **options) for per_step in (False, True))
    step.load_state_dict(row.state_dict())
    rows = torch.randn(3, 2, 9, dtype=torch.float64)
    same(row(rows), step(rows)[:, -1], 1e-12)


def test_a_transformer_that_is_not_causal_sees_the_whole_row_at_every_step() -> None:
    model, rows = small(transformer.build, (1, 10), patch=4, per_step=True), torch.randn(4, 1, 10, dtype=torch.float64)
    for step in range(10):
        moved = rows.clone()
        moved[:, :, step] += 1
        assert ((model(moved) - model(rows)).abs().amax(dim=(0, 2)) > 0).all()


def reach(kernel: int, depth: int, separable: bool) -> list[int]:
    """The steps that move the last answer, found by its gradient; weights that cannot cancel each other out."""
    model = small(tcn.build, (1, 80), kernel=kernel, depth=depth, separable=separable, size=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().add_(0.1)
    row = torch.rand(1, 1, 80, dtype=torch.float64, requires_grad=True)
    model(row).sum().backward()
    assert row.grad is not None
    return row.grad[0, 0].nonzero().squeeze(1).tolist()


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize(
    ("kernel", "depth", "field"), [(2, 1, 4), (2, 4, 32), (3, 1, 7), (3, 3, 31), (4, 2, 22), (5, 3, 61), (7, 2, 43)]
)
def test_the_receptive_field_is_the_formula(kernel: int, depth: int, field: int, separable: bool) -> None:
    assert tcn.receptive_field(kernel, depth) == field
    assert reach(kernel, depth, separable) == list(range(80 - field, 80))


@pytest.mark.parametrize(
    ("steps", "kernel", "depth"), [(1, 3, 1), (7, 3, 1), (8, 3, 2), (127, 3, 5), (128, 3, 6), (128, 5, 5), (9, 2, 3)]
)
def test_the_depth_follows_the_row(steps: int, kernel: int, depth: int) -> None:
    names = [name for name, _ in tcn.build((1, steps), 2, kernel=kernel, size=2).named_children()]
    assert names == ["stem", *(f"layer{number}" for number in range(1, depth + 1)), "head"]


@pytest.mark.parametrize("separable", [False, True])
def test_dilations_double(separable: bool) -> None:
    model = tcn.build((1, 16), 2, depth=4, separable=separable)
    dilations = [module.dilation[0] for module in model.modules() if isinstance(module, nn.Conv1d)]
    assert [dilation for dilation in dilations if dilation > 1] == [2, 2, 4, 4, 8, 8]


def test_a_gru_is_its_equations() -> None:
    """Cho et al., section 2.3, with torch's placing of the reset gate, step by step."""
    model = small(gru.build, (2, 7), per_step=True)
    cells, rows = model.get_submodule("layer1.cells"), torch.randn(3, 2, 7, dtype=torch.float64)
    w, u, b, c = (getattr(cells, name) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"))
    state, answers = torch.zeros(3, 8, dtype=torch.float64), []
    for step in range(7):
        from_input, from_state = (rows[:, :, step] @ w.T + b).chunk(3, 1), (state @ u.T + c).chunk(3, 1)
        reset, update = ((one + two).sigmoid() for one, two in zip(from_input[:2], from_state[:2], strict=True))
        state = update * state + (1 - update) * (from_input[2] + reset * from_state[2]).tanh()
        answers.append(model.get_submodule("head.answer")(state))
    same(model(rows), torch.stack(answers, dim=1), 1e-12)


def attended(tokens: Tensor, attention: Any, causal: bool) -> Tensor:
    """Attention of one row in loops: each head's softmax over the tokens that a token may look at."""
    length, size = tokens.shape
    query, key, value = attention.projections(tokens).chunk(3, dim=1)
    mixed = torch.zeros_like(tokens)
    for part in torch.arange(size).chunk(attention.heads):
        for place in range(length):
            seen = slice(0, place + 1 if causal else length)
            scores = key[seen, part] @ query[place, part] / len(part) ** 0.5
            mixed[place, part] = scores.softmax(0) @ value[seen, part]
    return attention.out(mixed)


@pytest.mark.parametrize("causal", [False, True])
def test_an_encoder_layer_is_its_equations(causal: bool) -> None:
    model = small(transformer.build, (2, 20), patch=4, causal=causal)
    layer: Any = model.get_submodule("layer1")
    tokens = torch.randn(2, 5, 8, dtype=torch.float64)
    expected = []
    for row in tokens:
        between = row + attended(layer.attention_norm(row), layer.attention, causal)
        expected.append(between + layer.expansion(layer.expansion_norm(between)))
    same(layer(tokens), torch.stack(expected), 1e-12)


def test_positions_tell_patches_apart() -> None:
    """Patches in another order give another answer, which attention and the mean alone would not."""
    model, rows = small(transformer.build, (1, 16), patch=4), torch.randn(2, 1, 16, dtype=torch.float64)
    assert not torch.allclose(model(rows), model(rows.roll(4, dims=2)))
    assert "stem.positions" not in model.state_dict()


def test_a_transformer_refuses_longer_rows_than_it_was_built_for() -> None:
    model = small(transformer.build, (1, 10), patch=4)
    assert model(torch.randn(1, 1, 12, dtype=torch.float64)).shape == (1, 5)
    with pytest.raises(ModelError, match="13 steps"):
        model(torch.randn(1, 1, 13, dtype=torch.float64))


# Refusals


@pytest.mark.parametrize("build", FAMILIES)
@pytest.mark.parametrize("inputs", [(64,), (1, 8, 8), (), (1, 0), (0, 8)])
def test_rows_that_are_no_series_are_refused(build: Build, inputs: tuple[int, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        build(inputs, 10)
    assert "(channels, steps)" in caught.value.expected
    assert "mlp" in caught.value.remedy


@pytest.mark.parametrize("build", FAMILIES)
@pytest.mark.parametrize("option", [{"size": 0}, {"depth": 0}, {"depth": -1}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_numbers_out_of_range_are_refused(build: Build, option: Options) -> None:
    with pytest.raises(ModelError) as caught:
        build((1, 8), 10, **option)
    assert next(iter(option)) in caught.value.happened
    assert caught.value.expected
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("build", "option", "said"),
    [
        (tcn.build, {"kernel": 1}, "kernel=1"),
        (transformer.build, {"heads": 0}, "heads=0"),
        (transformer.build, {"patch": 0}, "patch=0"),
        (transformer.build, {"size": 10, "heads": 4}, "size=10 with heads=4"),
        (transformer.build, {"patch": 9, "causal": True, "per_step": True}, "8 steps with patch=9"),
        (gru.build, {"size": -3}, "size=-3"),
    ],
)
def test_arguments_of_one_family_are_refused(build: Build, option: Options, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build((1, 8), 10, **option)
    with pytest.raises(ModelError, match="outputs=0"):
        build((1, 8), 0)


# ONNX


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "options"),
    [
        (tcn.build, {}),
        (tcn.build, {"separable": True, "per_step": True, "kernel": 4}),
        (gru.build, {}),
        (gru.build, {"depth": 2, "per_step": True}),
        (transformer.build, {"patch": 8}),
        (transformer.build, {"patch": 4, "per_step": True}),
        (transformer.build, {"patch": 4, "per_step": True, "causal": True}),
    ],
)
def test_onnx_says_the_same(build: Build, options: Options, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    model, rows = small(build, (3, 30), **options).float(), torch.randn(4, 3, 30)
    with warnings.catch_warnings():
        # torch.export warns that nn.GRU keeps a list of its own weights; they are in the graph all the same.
        warnings.filterwarnings("ignore", message="The tensor attributes? self")
        program = torch.onnx.export(model, (rows,), dynamo=True, verbose=False)
    assert program is not None
    program.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (said,) = session.run(None, {session.get_inputs()[0].name: rows.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(said), model(rows), rtol=1e-4, atol=1e-4)
