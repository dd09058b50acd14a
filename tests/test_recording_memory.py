"""A recording is mapped, not read: a training that learns from it holds a small part of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from small_runs import SETTLED, same_bits, small, weights

from limbeck.dictation import dictated
from limbeck.recipe import Recipe
from limbeck.recordings.shards import opened

VIEWS = 6
OBJECTIVE = "kd(temperature=2) + 0.01 * hint('layer1', 'layer1')"
RECIPE = """
data: {{source: digits, valid: 0.1, test: 0.2}}
augment: crop(padding=1)
training: {{batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}}
teacher: {teacher}
student: mlp(size=16)
objective: {objective}
record: {views}
budget: {views} epochs
device: cpu
"""


@contextmanager
def room_for(more: int) -> Iterator[None]:
    """Lets this process have so many more bytes of memory of its own, and mappings that it may write to, than now."""
    import resource

    lines = Path("/proc/self/status").read_text().splitlines()
    now = next(int(line.split()[1]) for line in lines if line.startswith("VmData")) * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def copied(recording: Path) -> list[torch.Tensor]:
    """All that a recording holds, read from its mapped shards into memory."""
    shards = [opened(path) for path in recording.glob("0*.safetensors")]
    return [column.clone() for shard in shards for column in shard.values() if isinstance(column, torch.Tensor)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds what a process holds like this")
def test_a_training_bounded_to_a_quarter_of_its_recording_ends_in_the_same_weights(tmp_path: Path) -> None:
    """Six views, 124 MB, are each read once; `benchmarks/recording_memory.py` has larger figures.

    Linux counts a private mapping as memory of the process, though no page of it is: the bound leaves room for that.
    """
    teacher = small(None, tmp_path / "teacher", student="mlp(size=4096)", budget="5 steps").folder
    recipe = RECIPE.format(teacher=teacher, objective=OBJECTIVE, views=VIEWS)
    dictated(Recipe.parse(recipe), tmp_path / "recording")
    same = {"augment": "crop(padding=1)", "budget": f"{VIEWS} epochs", "control": False, "training": dict(SETTLED)}
    free = small(tmp_path / "recording", tmp_path / "free", objective=OBJECTIVE, **same)
    size = sum(path.stat().st_size for path in (tmp_path / "recording").glob("*.safetensors"))
    assert size > 120e6
    with room_for(size + size // 4):
        bounded = small(tmp_path / "recording", tmp_path / "bounded", objective=OBJECTIVE, **same)
        with pytest.raises(RuntimeError, match="allocate memory"):
            copied(tmp_path / "recording")
    assert same_bits(weights(bounded), weights(free))
