"""Training rows that are there twice, and those of them whose labels differ."""

from collections import defaultdict

import torch

from limbeck.data.rows import TensorRows
from limbeck.examination.content import Content
from limbeck.records import Finding

# Repeated rows only weigh more than others, until they are many.
MANY = 0.05
# One row in 200 with two labels: no model can have more right than one of the two.
CONTRADICTED = 0.005
_SHOWN = 3


def duplicates(content: Content, train: TensorRows) -> list[Finding]:
    """Equal rows within training: a note, a warning from 5 % on; with different labels a warning from 0.5 % on.

    The second is a lower bound of the labels' noise: of two equal rows with different labels one is wrong, unless the
    input does not decide the label.
    """
    families: dict[bytes, list[int]] = defaultdict(list)
    for place, digest in enumerate(content.digests):
        if digest is not None:
            families[digest].append(place)
    several = [places for places in families.values() if len(places) > 1]
    extra = sum(len(places) - 1 for places in several)
    if not extra:
        return []
    share = extra / len(content.digests)
    pairs = ", ".join(" = ".join(str(content.ids[at]) for at in places[:2]) for places in several[:_SHOWN])
    found = [
        Finding(
            "warning" if share >= MANY else "note",
            f"the same {content.what} twice in training",
            f"{extra:,} of {len(content.digests):,} training {content.what} ({share:.1%}) repeat another one "
            f"(ids {pairs})",
            "keep one of each, unless they stand for how often the case occurs",
        )
    ]
    return [*found, *_contradictions(several, content, train)]


def _contradictions(several: list[list[int]], content: Content, train: TensorRows) -> list[Finding]:
    labels, known = train.labels, train.known
    if labels is None or labels.is_floating_point() or content.what != "rows":
        return []
    opposed = []
    for places in several:
        at = torch.tensor(places)
        at = at[known[at].reshape(len(at), -1).all(dim=1)]
        if len(at) > 1 and not bool((labels[at] == labels[at[:1]]).all()):
            opposed.append(at.tolist())
    if not opposed:
        return []
    rows = sum(len(places) for places in opposed)
    share = rows / len(content.digests)
    pairs = ", ".join(" and ".join(str(content.ids[at]) for at in places[:2]) for places in opposed[:_SHOWN])
    return [
        Finding(
            "warning" if share >= CONTRADICTED else "note",
            "equal rows with different labels",
            f"{rows:,} training rows ({share:.1%}) have the inputs of another row and another label (ids {pairs}): at "
            f"least {len(opposed):,} labels are wrong, or the inputs do not decide the label",
            "look at these rows and correct or drop them; labels that disagree by nature are what soft targets are for",
        )
    ]
