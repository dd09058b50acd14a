"""A network of timm as teacher of a folder of pictures: what its outputs mean, and what is said of a wrong name."""

from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.catalog.models import Shape, model
from limbeck.catalog.teachers import teacher as find
from limbeck.cli import main
from limbeck.errors import ModelError, TeacherError
from limbeck.objective import Needs
from limbeck.signals import Batch
from limbeck.tasks.classification import Classification

timm = pytest.importorskip("timm", reason="needs the extra vision")
Image = pytest.importorskip("PIL.Image")

LOGITS = Needs(logits=True)
RECIPE = """
data: {{source: pictures, valid: 0.2, test: 0.2}}
teacher: {{model: "{model}", classes: {classes}, claims: 0}}
student: mlp(size=8)
objective: 0.9 * kd(temperature=4) + 0.1 * labels
budget: 1 steps
to: {to}
training: {{batch: 8, precision: float32, channels_last: false}}
"""


def shape(classes: tuple[str, ...]) -> Shape:
    return Shape((3, 32, 32), len(classes), classes, torch.zeros(3), torch.ones(3))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces of scikit-learn's two photographs: the temple is a folder, the flower another."""
    from sklearn.datasets import load_sample_images

    folder = tmp_path_factory.mktemp("timm")
    for name, image in zip(("temple", "daisy"), load_sample_images().images, strict=True):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            down, right = 64 * (number // 5), 64 * (number % 5)
            piece = Image.fromarray(image[down : down + 32, right : right + 32])
            piece.save(folder / "pictures" / name / f"{number}.png")
    return folder


def said(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: str, classes: str = "{}"
) -> tuple[int, str]:
    """Exit code and standard error of `limbeck distill`."""
    monkeypatch.chdir(folder)
    to = f"runs/{len(list(folder.glob('*.yaml')))}"
    recipe = folder / f"recipe-{len(list(folder.glob('*.yaml')))}.yaml"
    recipe.write_text(RECIPE.format(model=model, classes=classes, to=to), encoding="utf-8")
    try:
        code = main(["distill", str(recipe), "--quiet"])
    except SystemExit as left:
        code = left.code
    return int(code or 0), " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_names_in_the_networks_own_order(
    pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "timm:test_resnet(classes=('temple', 'tree', 'daisy', 'rose'))"
    code, text = said(pictures, capsys, monkeypatch, own)
    assert code == 0, text
    (pictures / "names.txt").write_text("temple\npagoda\ndaisy\n\n", encoding="utf-8")
    from_file = "timm:test_resnet(classes='names.txt')"
    code, text = said(pictures, capsys, monkeypatch, from_file, "{temple: [temple, pagoda]}")
    assert code == 0, text
    code, text = said(pictures, capsys, monkeypatch, from_file, "{temple: [temple, pagodda]}")
    assert code == TeacherError.exit_code and "knows no class 'pagodda'" in text and "did you mean 'pagoda'?" in text
    code, text = said(pictures, capsys, monkeypatch, from_file, "{tempel: pagoda}")
    assert code == TeacherError.exit_code and "'tempel', which is no class of the data" in text
    assert "did you mean 'temple'?" in text
    # The data's folders are the ones that are misspelt: the teacher's word stands beside it, and how to say so.
    code, text = said(pictures, capsys, monkeypatch, "timm:test_resnet(classes=('temple', 'daissy'))")
    assert code == TeacherError.exit_code and "knows no class 'daisy' (1 of 2 are missing)" in text
    assert "did you mean 'daissy'?" in text and "classes: {CLASS OF THE DATA: ITS OWN}" in text
    code, text = said(pictures, capsys, monkeypatch, "timm:test_resnet(classes=('temple', 'temple', 'daisy'))")
    assert code == TeacherError.exit_code and "name 'temple' twice" in text
    code, text = said(pictures, capsys, monkeypatch, "timm:test_resnet(classes='name.txt')")
    assert code == TeacherError.exit_code and "is no file" in text
    code, text = said(pictures, capsys, monkeypatch, "timm:test_resnet(classes=3)")
    assert code == TeacherError.exit_code and "are no names" in text
    code, text = said(pictures, capsys, monkeypatch, "timm:tset_resnet(classes='names.txt')")
    assert code == TeacherError.exit_code and "did you mean 'test_resnet'?" in text
    assert sorted(path.name for path in (pictures / "runs").iterdir()) == ["0", "1"]  # the others stopped before


def test_imagenets_names(pictures: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = "timm:test_resnet(classes='imagenet-1k')"
    code, text = said(pictures, capsys, monkeypatch, whole, "{temple: [monastery, stupa]}")
    assert code == 0, text
    code, text = said(pictures, capsys, monkeypatch, whole, "{temple: [monastry, stupa]}")
    assert code == TeacherError.exit_code and "did you mean 'monastery'?" in text
    code, text = said(pictures, capsys, monkeypatch, whole)
    assert code == TeacherError.exit_code and "knows no class 'temple'" in text and len(text) < 3000
    code, text = said(pictures, capsys, monkeypatch, "timm:test_resnet(classes='imagenet-1000')")
    assert code == TeacherError.exit_code and "did you mean 'imagenet-1k'?" in text
    names = model(whole, shape(("a", "b"))).classes  # type: ignore[union-attr]
    assert len(names) == len(set(names)) == 1000 and names[1] == "goldfish" and names[134] == "crane (n02012849)"
    assert model(whole, shape(("n01440764", "n01443537"))).classes[1] == "n01443537"


def test_a_trained_teacher_keeps_its_own_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights from a file, as `pretrained=True` brings them from a hub; the answers are those of the network itself."""
    from safetensors.torch import save_file

    monkeypatch.chdir(tmp_path)
    network = timm.create_model("test_resnet").eval()
    save_file(network.state_dict(), "weights.safetensors")
    text = "timm:test_resnet(checkpoint_path='weights.safetensors')"
    data = ("stupa", "daisy")
    found = find(text, shape(data))
    assert len(found.model.classes) == 1000
    found.prepare(LOGITS, data)
    inputs = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8))
    batch = Batch.of(inputs, torch.zeros(3, dtype=torch.int64), Classification())
    with torch.no_grad():
        expected = network(found.model.transform(inputs))[:, [found.model.classes.index(name) for name in data]]
    torch.testing.assert_close(found.signals(batch).logits, expected)
    # What shall learn these classes gets outputs of its own for them, and nobody took it for a teacher.
    assert find("timm:test_resnet(num_classes=2)", shape(data)).model.classes == ()
    with pytest.raises(ModelError, match=r"cannot be built: .*size mismatch"):
        model(text, shape(data))
