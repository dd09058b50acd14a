"""The small networks: their sizes in closed form, their shapes, and that they look at everything they are shown."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from limbeck.errors import ModelError
from limbeck.students import cnn, mlp, separable_cnn

IMAGES = [(1, 8, 8), (1, 28, 28), (3, 64, 64)]
CONVOLUTIONAL = [cnn.build, separable_cnn.build]
EVERY_STUDENT = [(mlp.build, (64,)), (mlp.build, (3, 5, 7))] + [(b, s) for b in CONVOLUTIONAL for s in IMAGES]
TAP_POINTS = ["stem", "layer1", "layer2", "layer3", "head"]
Build = Callable[..., nn.Module]


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def small(build: Build, inputs: tuple[int, ...], seed: int = 0, **options: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(inputs, 5, **{"size": 8, "depth": 2, **options})


def cnn_parameters(channels: int, size: int, depth: int, outputs: int) -> int:
    """Kernel weights and two BatchNorm numbers a channel, block by block, from the paper's picture."""
    total, narrow = 9 * channels * size + 2 * size, size
    for wide in (size, 2 * size, 4 * size):
        for _ in range(depth):
            total += 9 * narrow * wide + 2 * wide + 9 * wide * wide + 2 * wide
            total += 0 if narrow == wide else narrow * wide + 2 * wide
            narrow = wide
    return total + narrow * outputs + outputs


def separable_parameters(channels: int, size: int, depth: int, outputs: int) -> int:
    total, narrow = 9 * channels * size + 2 * size, size
    for wide in (size, 2 * size, 4 * size):
        for _ in range(depth):
            total += 9 * narrow + 2 * narrow + narrow * wide + 2 * wide
            narrow = wide
    return total + narrow * outputs + outputs


@pytest.mark.parametrize(("size", "depth"), [(4, 1), (8, 2), (12, 3)])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 10), (3, 7)])
def test_convolutional_parameter_counts_follow_the_closed_forms(
    size: int, depth: int, channels: int, outputs: int
) -> None:
    inputs, options = (channels, 16, 16), {"size": size, "depth": depth}
    s, d = size, depth
    assert parameters(cnn.build(inputs, outputs, **options)) == cnn_parameters(channels, s, d, outputs)
    assert parameters(separable_cnn.build(inputs, outputs, **options)) == separable_parameters(channels, s, d, outputs)
    # The same closed forms, as the docstrings print them.
    head = (4 * s + 1) * outputs
    plain = 9 * channels * s + 2 * s + d * (18 * s**2 + 4 * s) + (56 * s**2 + 12 * s)
    plain += (d - 1) * (72 * s**2 + 8 * s) + (224 * s**2 + 24 * s) + (d - 1) * (288 * s**2 + 16 * s) + head
    light = 9 * channels * s + 2 * s + d * (s**2 + 13 * s) + (2 * s**2 + 15 * s) + (d - 1) * (4 * s**2 + 26 * s)
    light += (8 * s**2 + 30 * s) + (d - 1) * (16 * s**2 + 52 * s) + head
    assert parameters(cnn.build(inputs, outputs, **options)) == plain
    assert parameters(separable_cnn.build(inputs, outputs, **options)) == light


@pytest.mark.parametrize(("size", "depth"), [(4, 1), (9, 2), (6, 3)])
def test_mlp_parameter_count_follows_the_closed_form(size: int, depth: int) -> None:
    expected = (35 + 1) * size + (depth - 1) * (size + 1) * size + (size + 1) * 3
    assert parameters(mlp.build((5, 7), 3, size=size, depth=depth)) == expected


def test_counts_that_the_docstrings_promise() -> None:
    digit = (1, 28, 28)
    assert parameters(mlp.build(digit, 10, size=1200, depth=2, dropout=0.5, input_dropout=0.2)) == 2_395_210
    assert parameters(cnn.build(digit, 10)) == 696_042
    assert parameters(separable_cnn.build(digit, 10)) == 39_178


@pytest.mark.parametrize(("build", "inputs"), EVERY_STUDENT)
def test_a_row_alone_equals_the_row_in_a_batch(build: Build, inputs: tuple[int, ...]) -> None:
    model = small(build, inputs).eval()
    rows = torch.randn(4, *inputs)
    together = model(rows)
    assert together.shape == (4, 5)
    alone = torch.cat([model(row[None]) for row in rows])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[1]), "different rows must not give the same answer"


@pytest.mark.parametrize(("build", "inputs"), EVERY_STUDENT)
def test_every_input_moves_the_answer(build: Build, inputs: tuple[int, ...]) -> None:
    model = small(build, inputs).double().eval()
    rows = torch.randn(8, *inputs, dtype=torch.float64, requires_grad=True)
    model(rows).square().sum().backward()
    assert rows.grad is not None
    assert (rows.grad.abs().sum(0) > 0).all(), "some input has no way to the logits"


@pytest.mark.parametrize(("build", "inputs"), EVERY_STUDENT)
def test_every_parameter_learns(build: Build, inputs: tuple[int, ...]) -> None:
    model = small(build, inputs).train()
    functional.cross_entropy(model(torch.randn(16, *inputs)), torch.arange(16) % 5).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


@pytest.mark.parametrize(("build", "inputs"), [(mlp.build, (64,)), *((b, (1, 8, 8)) for b in CONVOLUTIONAL)])
def test_students_can_learn_by_heart(build: Build, inputs: tuple[int, ...]) -> None:
    model = small(build, inputs, size=16, depth=1).train()
    rows, labels = torch.randn(10, *inputs, generator=torch.Generator().manual_seed(1)), torch.arange(10) % 5
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        loss = functional.cross_entropy(model(rows), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(rows).argmax(1) == labels).all()


@pytest.mark.parametrize("build", [mlp.build, *CONVOLUTIONAL])
def test_initial_weights_follow_the_seed(build: Build) -> None:
    rows = torch.randn(2, 1, 8, 8)
    first, again, other = (small(build, (1, 8, 8), seed).eval()(rows) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("build", CONVOLUTIONAL)
@pytest.mark.parametrize(
    ("inputs", "sides"),
    [
        ((1, 8, 8), {cnn.build: (8, 8, 4, 4), separable_cnn.build: (8, 8, 4, 4)}),
        ((1, 28, 28), {cnn.build: (28, 28, 14, 7), separable_cnn.build: (14, 14, 7, 7)}),
        ((3, 64, 64), {cnn.build: (32, 32, 16, 8), separable_cnn.build: (32, 32, 16, 8)}),
        ((3, 224, 224), {cnn.build: (28, 28, 14, 7), separable_cnn.build: (28, 28, 14, 7)}),
    ],
)
def test_halvings_follow_the_image(build: Build, inputs: tuple[int, ...], sides: dict[Build, tuple[int, ...]]) -> None:
    model, features, seen = small(build, inputs, size=4, depth=1).eval(), torch.randn(1, *inputs), []
    for name in TAP_POINTS[:-1]:
        features = model.get_submodule(name)(features)
        seen.append(features.shape[-1])
    assert tuple(seen) == sides[build]


@pytest.mark.parametrize("build", CONVOLUTIONAL)
def test_stem_stride_is_obeyed_and_costs_no_parameters(build: Build) -> None:
    models = {stride: small(build, (1, 32, 32), stem_stride=stride) for stride in (1, 2, 4)}
    image = torch.randn(1, 1, 32, 32)
    assert {stride: model.get_submodule("stem")(image).shape[-1] for stride, model in models.items()} == {
        1: 32,
        2: 16,
        4: 8,
    }
    assert len({parameters(model) for model in models.values()}) == 1


@pytest.mark.parametrize(("build", "inputs"), [(mlp.build, (12,)), (cnn.build, (1, 8, 8))])
def test_tap_points_have_their_names_in_order(build: Build, inputs: tuple[int, ...]) -> None:
    assert [name for name, _ in small(build, inputs, depth=3).named_children()] == TAP_POINTS


def test_mlp_drops_in_training_only() -> None:
    torch.manual_seed(0)
    model = mlp.build((50,), 4, size=2000, depth=1, dropout=0.5, input_dropout=0.2)
    rows = torch.ones(40, 50)
    stem, hidden = model.get_submodule("stem"), model.get_submodule("layer1")
    model.train()
    assert (stem(rows) == 0).float().mean().item() == pytest.approx(0.2, abs=0.03)
    dropped = (hidden(rows) == 0).float().mean().item()
    model.eval()
    silent = (hidden(rows) == 0).float().mean().item()
    assert torch.equal(stem(rows), rows)
    assert dropped == pytest.approx(silent + 0.5 * (1 - silent), abs=0.03)


@pytest.mark.parametrize("build", CONVOLUTIONAL)
@pytest.mark.parametrize("inputs", [(64,), (8, 8), (1, 1, 8, 8), (1, 0, 8)])
def test_rows_that_are_no_images_are_refused(build: Build, inputs: tuple[int, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        build(inputs, 10)
    assert "channels, height, width" in caught.value.expected
    assert "mlp" in caught.value.remedy


@pytest.mark.parametrize("build", [mlp.build, *CONVOLUTIONAL])
@pytest.mark.parametrize("option", [{"size": 0}, {"depth": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_numbers_out_of_range_are_refused(build: Build, option: dict[str, float]) -> None:
    with pytest.raises(ModelError) as caught:
        build((1, 8, 8), 10, **option)
    assert next(iter(option)) in caught.value.happened
    assert caught.value.expected and caught.value.remedy


@pytest.mark.parametrize("build", CONVOLUTIONAL)
@pytest.mark.parametrize("stride", [0, 3, -2])
def test_stem_stride_must_be_a_power_of_two(build: Build, stride: int) -> None:
    with pytest.raises(ModelError, match="stem_stride"):
        build((1, 8, 8), 10, stem_stride=stride)


@pytest.mark.parametrize("inputs", [(), (0,), (1, 0, 8)])
def test_mlp_refuses_empty_rows(inputs: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="rows of shape"):
        mlp.build(inputs, 10)


def test_a_bound_on_the_norms_scales_back_what_has_grown_past_it_and_leaves_the_rest() -> None:
    torch.manual_seed(0)
    model = mlp.build((6,), 3, size=5, depth=2, max_norm=1.5)
    layer = model.layer1[0]
    with torch.no_grad():
        layer.weight.copy_(torch.eye(5, 6) * torch.tensor([0.5, 1.4, 1.6, 3.0, 90.0])[:, None])
        layer.weight[4, 5] = 120.0  # of length 150
    grown, rows = layer.weight.detach().clone(), torch.randn(4, 6)
    expected = grown.clone()
    expected[2:] *= (torch.tensor([1.5 / 1.6, 0.5, 0.01]))[:, None]
    said = layer.eval()(rows)
    torch.testing.assert_close(said, rows @ expected.T + layer.bias, rtol=1e-5, atol=1e-5)
    assert torch.equal(layer.weight, grown), "an answer changed the weights"
    torch.testing.assert_close(layer.train()(rows), said, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(layer.weight[:2], grown[:2])


def test_training_under_a_bound_is_descent_that_is_projected_after_each_step() -> None:
    torch.manual_seed(0)
    bounded, free = (mlp.build((6,), 3, size=5, depth=1, max_norm=bound) for bound in (0.6, None))
    free.load_state_dict(bounded.state_dict())
    rows, labels = torch.randn(20, 6), torch.randint(0, 3, (20,))
    for model in (bounded, free):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
        for _ in range(10):
            if model is free:
                weight = free.layer1[0].weight
                weight.data *= (0.6 / weight.norm(dim=1, keepdim=True)).clamp(max=1)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(rows), labels).backward()
            optimizer.step()
    weight = free.layer1[0].weight
    weight.data *= (0.6 / weight.norm(dim=1, keepdim=True)).clamp(max=1)
    torch.testing.assert_close(bounded.eval()(rows), free.eval()(rows), rtol=1e-4, atol=1e-5)
    assert (weight.norm(dim=1) > 0.59).any()


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_a_bound_that_bounds_nothing_is_refused(bound: float) -> None:
    with pytest.raises(ModelError, match="max_norm"):
        mlp.build((6,), 3, max_norm=bound)
