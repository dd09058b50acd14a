"""Pairs of layers: likeness against its definition, stages of real networks, and that looking moves nothing."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import small
from test_cli import call
from torch import nn

from limbeck.errors import ModelError
from limbeck.matching import _hsic, _in_order, _products, propose, similarity, stages
from limbeck.model import Model
from limbeck.signals import Batch
from limbeck.students import cnn, mlp, transformer
from limbeck.tasks.classification import Classification

QUICK = settings(max_examples=40, deadline=None, derandomize=True)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hsic_is_the_mean_over_all_quadruples_of_rows() -> None:
    """Song et al., equation 3: K_ij (L_ij + L_qr - 2 L_iq), over i, j, q, r that are all different."""
    one, other = (_products(normal(6, width, seed=width)) for width in (3, 4))
    total = 0.0
    for i, j, q, r in itertools.permutations(range(6), 4):
        total += float(one[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q]))
    assert float(_hsic(one, other)) == pytest.approx(total / math.perm(6, 4), rel=1e-10)


def test_likeness_knows_no_rotation_scale_or_place_and_is_zero_for_strangers() -> None:
    features = normal(20, 3, 2, 2)
    turned, _ = torch.linalg.qr(normal(12, 12, seed=5))
    same = (3 * features.flatten(1) @ turned + 7).view(20, 12)
    assert similarity(features, same) == pytest.approx(1.0, rel=1e-9)
    strangers = [similarity(normal(20, 30, seed=2 * n), normal(20, 30, seed=2 * n + 1)) for n in range(200)]
    assert abs(sum(strangers) / 200) < 0.02, "the biased estimate is about 0.6 here"
    assert similarity(features, torch.ones(20, 4)) == 0.0


@QUICK
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10_000))
def test_pairs_are_the_best_of_all_that_grow(rows: int, columns: int, seed: int) -> None:
    worth = (normal(rows, columns, seed=seed)).tolist()
    found = _in_order(worth)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(found))
    best = 0.0
    for count in range(1, min(rows, columns) + 1):
        for left in itertools.combinations(range(rows), count):
            for right in itertools.combinations(range(columns), count):
                best = max(best, sum(worth[i][j] for i, j in zip(left, right, strict=True)))
    assert sum(worth[i][j] for i, j in found) == pytest.approx(best, abs=1e-12)


def image_model(seed: int, **arguments: int) -> Model:
    torch.manual_seed(seed)
    return Model(cnn.build((1, 16, 16), 5, **arguments))


# Pictures made of three patterns, so that rows are alike in some way.
PICTURES = (normal(32, 3) @ normal(3, 256, seed=1)).view(32, 1, 16, 16).float()
BATCH = Batch.of(PICTURES, None, Classification())


def test_a_network_is_paired_with_itself_stage_by_stage() -> None:
    pairs = propose(image_model(0, size=8, depth=2), image_model(0, size=8, depth=2), BATCH)
    assert [(pair.student, pair.teacher) for pair in pairs] == [(name, name) for name in ("layer1", "layer2", "layer3")]
    assert [pair.student_shape for pair in pairs] == [(8, 16, 16), (16, 8, 8), (32, 8, 8)]
    assert all(pair.similarity == pytest.approx(1, abs=1e-6) for pair in pairs)


def test_looking_moves_no_statistic_no_mode_no_generator_and_leaves_no_hook() -> None:
    model, other = image_model(1, size=8), image_model(2, size=4)
    model.train()
    model.network.layer2.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    state = torch.get_rng_state()
    propose(model, other, BATCH)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [part.training for part in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(part._forward_hooks for part in model.modules())


def test_stages_of_flat_of_isotropic_and_of_in_place_networks() -> None:
    torch.manual_seed(0)
    flat = Model(mlp.build((1, 16, 16), 5, size=12, depth=3))
    assert [stage.name for stage in stages(flat, BATCH.inputs)] == ["layer1", "layer2", "layer3"]
    series = Model(transformer.build((24, 2), 3, size=16, depth=4))
    names = [stage.name for stage in stages(series, normal(8, 24, 2).float())]
    assert [name for name in names if name.startswith("layer")] == ["layer1", "layer2", "layer3", "layer4"]
    assert len(stages(series, normal(8, 24, 2).float(), most=2)) == 2
    overwritten = Model(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(784, 5)))
    assert "0" not in [stage.name for stage in stages(overwritten, BATCH.inputs)]


def test_stages_of_networks_of_timm() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("resnet18", num_classes=5, in_chans=1)
    names = [stage.name for stage in stages(Model(network), normal(8, 1, 64, 64).float())]
    assert names == ["conv1", "layer1", "layer2", "layer3", "layer4"]
    tokens = timm.create_model("vit_tiny_patch16_224", num_classes=5, in_chans=1, img_size=32)
    names = [stage.name for stage in stages(Model(tokens), normal(8, 1, 32, 32).float())]
    assert sum(name.startswith("blocks.") for name in names) >= 4


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ModelError, match=r"7 rows tell layers apart badly"):
        propose(image_model(0, size=4), image_model(0, size=4), BATCH.rows(slice(0, 7)))


def test_layers_of_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small(None, tmp_path / "teacher", student="mlp(size=24)", budget="20 steps")
    recipe = tmp_path / "student.yaml"
    recipe.write_text(
        f"data: digits\nteacher: {tmp_path / 'teacher'}\nstudent: mlp(size=8)\ntraining: {{threads: 1}}\n"
    )
    call("layers", str(recipe), "--quiet")
    out = capsys.readouterr().out
    assert "layer2  (8,)" in out and "layer2  (24,)" in out
    assert "hint('layer2', 'layer2')" in out
    call("layers", str(recipe), "--set", "teacher=null", code=4)
    assert "no teacher" in capsys.readouterr().err
