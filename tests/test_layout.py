"""The channels-last layout is not used where torch corrupts memory, and the person hears why."""

from pathlib import Path

import pytest
from small_runs import small

from limbeck.errors import ModelError
from limbeck.progress import Silent
from limbeck.students import cnn
from limbeck.training.layout import unsafe_channels_last


@pytest.mark.parametrize(("size", "layer"), [(4, "layer2.0.shortcut.0"), (6, "layer2.0.shortcut.0"), (8, None)])
def test_strided_pointwise_convolutions_of_few_channels_are_found(size: int, layer: str | None) -> None:
    assert unsafe_channels_last(cnn.build((1, 8, 8), 10, size=size, depth=1)) == layer


def test_auto_says_why_and_an_explicit_wish_is_refused(tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    student = {"student": "cnn(size=4, depth=1)", "budget": "2 steps"}
    run = small(None, tmp_path / "run", progress=Listening(), training={"channels_last": "auto"}, **student)
    assert run.recipe().training.channels_last is False
    assert any("torch corrupts memory" in sentence for sentence in said)
    with pytest.raises(ModelError, match=r"layer network\.layer2.* cannot be trained in the channels-last layout"):
        small(None, tmp_path / "other", training={"channels_last": True}, **student)
