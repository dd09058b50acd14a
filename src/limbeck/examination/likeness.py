"""The same picture in two splits, but for an encoding, a size, a brightness, a mirror or a pixel cut off.

Equal digests find equal rows only. Here pictures are compared by what is in them, in two steps. First each judged
picture, and its mirror image, is held against all of the other split by the correlation of small grey copies, as
blocked matrix products; ten are kept. Then these ten are compared by their detail: small things of up to eight pixels,
without the noise of single ones, at the best of nine places a pixel apart. Correlations know neither brightness nor
contrast.

How much two different pictures agree depends on the data: street scenes hardly, shirts before a black ground a lot. So
no similarity alone makes a twin. One must also stand out from the other nearest ones: the rest of its detail (1 - r),
held against theirs, as Lowe's ratio test does with descriptors ("Distinctive image features from scale-invariant
keypoints", IJCV 2004, https://doi.org/10.1023/B:VISI.0000029664.99615.94, section 7.1; read: memory).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from limbeck.data.rows import TensorRows
from limbeck.examination.content import Content
from limbeck.records import Finding

# Below 16 pixels there is no detail apart from the outline.
SMALLEST = 16
# Side of the small copies, and the longest side at which detail is compared. A pixel cut off a larger picture is less
# than a pixel there.
_COARSE, _FINE = 16, 64
# Neighbours whose detail is compared. A twin stands out from their median, so of one picture there may be four more.
_NEAREST = 10
# Among fewer than that the ten nearest are not near.
ENOUGH = 100
# Measured on Tiny ImageNet and Fashion-MNIST; docs/doctor.md has the shares of planted and of natural pairs.
ALIKE, OUTSTANDING = 0.8, 0.2
# A share as for equal rows, but a twin is judged by its looks: never an error, and a few may be chance where neighbours
# are few: of 300 pictures of Fashion-MNIST four stand out beside 500 (among 60,000, one in 200).
MANY, SEVERAL = 0.01, 5
# So many rows are judged, against so many: less than ten seconds on one core for each pair of splits.
JUDGED, COMPARED = 1_000, 60_000
_ROWS_AT_ONCE = 250
_SHOWN = 5
_PAIRS = (("train", "test"), ("train", "valid"), ("valid", "test"))
_WORDS = {"train": "training", "valid": "validation", "test": "test"}


@dataclass(frozen=True)
class Gallery:
    """Some rows of a split, and a small standardised copy of each; the pictures themselves stay where they are."""

    rows: TensorRows
    places: Int[Tensor, " pictures"]
    coarse: Float[Tensor, "pictures cells"]

    @classmethod
    def of(cls, rows: TensorRows, places: Int[Tensor, " pictures"]) -> "Gallery":
        """The pictures at these places of the rows."""
        return cls(rows, places, torch.cat([_coarse(_grey(rows, block)) for block in places.split(_ROWS_AT_ONCE)]))

    def grey(self, at: Int[Tensor, " taken"]) -> Float[Tensor, "taken height width"]:
        """Some of its pictures in grey, at most 64 pixels a side."""
        return _grey(self.rows, self.places[at])

    def ids(self, at: Int[Tensor, " taken"]) -> list[int]:
        """Their rows' ids."""
        return self.rows.ids.cpu()[self.places[at]].tolist()


@dataclass(frozen=True)
class Twins:
    """Which pictures look like one of another gallery: whether, the place of the likest, its detail's correlation."""

    found: Bool[Tensor, " rows"]
    places: Int[Tensor, " rows"]
    correlation: Float[Tensor, " rows"]


def pictures(splits: Mapping[str, TensorRows]) -> bool:
    """Whether rows are pictures that can be compared: one to four channels of 16 x 16 pixels or more, and enough."""
    shape = tuple(splits["train"].inputs.shape)
    enough = all(len(rows) > 0 for rows in splits.values()) and len(splits["train"]) >= ENOUGH
    return len(shape) == 4 and shape[1] <= 4 and min(shape[2:]) >= SMALLEST and enough


def near_duplicates(splits: Mapping[str, TensorRows], contents: Mapping[str, Content]) -> list[Finding]:
    """Pictures with a twin in an earlier split: a note, a warning from five and 1 % of the rows looked at on.

    Equal rows are left to `overlap.same_rows`. Of more than 1,000 rows a sample is judged, spread evenly; of more than
    60,000 likewise a sample is what they are held against, and what is found is a lower bound.

    Args:
        splits: Of pictures.
        contents: Their digests.
    """
    found, galleries = [], {}
    for first, second in _PAIRS:
        if len(splits[first]) < ENOUGH:
            continue
        if first not in galleries:
            galleries[first] = Gallery.of(splits[first], _spread(len(splits[first]), COMPARED))
        equal, digests = contents[first].places(), contents[second].digests
        places = [at for at in _spread(len(splits[second]), JUDGED).tolist() if digests[at] not in equal]
        if places:
            judged = Gallery.of(splits[second], torch.tensor(places))
            found += _findings(first, second, judged, galleries[first])
    return found


def twins(judged: Gallery, others: Gallery) -> Twins:
    """The likest of the others (more than ten) for each picture, and whether it is the same one."""
    parts = []
    for at in torch.arange(len(judged.places)).split(_ROWS_AT_ONCE):
        grey = judged.grey(at)
        both = torch.stack([grey, grey.flip(-1)])
        likeness = torch.cat([_coarse(side) @ others.coarse.T for side in both], dim=1)
        near = likeness.topk(_NEAREST, dim=1).indices
        mirrored, places = (near >= len(others.places)).long(), near % len(others.places)
        sides = torch.stack([_detail(side) for side in both])
        rows = torch.arange(len(at))
        agreed = torch.stack(
            [_correlation(sides[mirrored[:, k], rows], _detail(others.grey(places[:, k]))) for k in range(_NEAREST)],
            dim=1,
        )
        best = agreed.max(dim=1)
        outstanding = (1 - best.values) <= OUTSTANDING * (1 - agreed.median(dim=1).values)
        blank = judged.coarse[at].abs().amax(dim=1) == 0
        parts.append((outstanding & (best.values >= ALIKE) & ~blank, places[rows, best.indices], best.values))
    return Twins(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _findings(first: str, second: str, judged: Gallery, others: Gallery) -> list[Finding]:
    likest = twins(judged, others)
    at = likest.found.nonzero().flatten()
    at = at[likest.correlation[at].argsort(descending=True)]
    count, whole = len(at), len(judged.places)
    if not count:
        return []
    shown = at[:_SHOWN]
    pairs = zip(judged.ids(shown), others.ids(likest.places[shown]), strict=True)
    examples = ", ".join(f"{ours} ~ {theirs}" for ours, theirs in pairs)
    judging, comparing = len(judged.rows), len(others.rows)
    part = [f"{min(JUDGED, judging):,} of {judging:,} {_WORDS[second]} rows"] if judging > JUDGED else []
    part += [f"{COMPARED:,} of {comparing:,} {_WORDS[first]} rows"] if comparing > COMPARED else []
    sampled = f"; looked at: {' and '.join(part)}" if part else ""
    return [
        Finding(
            "warning" if count >= max(SEVERAL, MANY * whole) else "note",
            f"nearly the same pictures in {_WORDS[first]} and {_WORDS[second]}",
            f"{count:,} of {whole:,} {_WORDS[second]} rows ({count / whole:.1%}) look like a {_WORDS[first]} row that "
            f"was encoded, sized, lit or cut another way, or mirrored (ids {examples}){sampled}",
            "look at these pairs; what comes from one picture (or one product, one scene) belongs in one split: "
            "columns: {group: NAME}",
        )
    ]


def _grey(rows: TensorRows, places: Int[Tensor, " taken"]) -> Float[Tensor, "taken height width"]:
    picture = rows.take(places).inputs.cpu().float().mean(dim=1, keepdim=True)
    return functional.adaptive_avg_pool2d(picture, _within(picture, _FINE))[:, 0]


def _spread(count: int, most: int) -> Int[Tensor, " taken"]:
    return torch.linspace(0, count - 1, min(count, most)).round().long()


def _within(picture: Tensor, side: int) -> tuple[int, int]:
    return min(picture.shape[-2], side), min(picture.shape[-1], side)


def _coarse(grey: Float[Tensor, "rows height width"]) -> Float[Tensor, "rows cells"]:
    return _standard(functional.adaptive_avg_pool2d(grey[:, None], _within(grey, _COARSE)).flatten(1))


def _standard(flat: Float[Tensor, "rows numbers"]) -> Float[Tensor, "rows numbers"]:
    """Mean 0 and length 1, so that a product of two is their correlation; 0 where nothing differs."""
    apart = flat - flat.mean(dim=1, keepdim=True)
    length = apart.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-3 * flat.norm(dim=1, keepdim=True), apart / length.clamp(min=1e-30), 0.0)


def _detail(grey: Float[Tensor, "rows height width"]) -> Float[Tensor, "rows height width"]:
    return _smooth(grey, 3) - _smooth(grey, 9)


def _smooth(grey: Float[Tensor, "rows height width"], side: int) -> Float[Tensor, "rows height width"]:
    around = functional.pad(grey[:, None], (side // 2,) * 4, mode="reflect")
    return functional.avg_pool2d(around, side, stride=1)[:, 0]


def _correlation(
    ours: Float[Tensor, "rows height width"], theirs: Float[Tensor, "rows height width"]
) -> Float[Tensor, " rows"]:
    """Of what is within a pixel of the edge, at the best of the nine places up to a pixel away."""
    height, width = theirs.shape[1:]
    inside = _standard(theirs[:, 1:-1, 1:-1].flatten(1))
    best = torch.full((len(ours),), -1.0)
    for down in range(3):
        for right in range(3):
            moved = ours[:, down : down + height - 2, right : right + width - 2].flatten(1)
            best = torch.maximum(best, (_standard(moved) * inside).sum(dim=1))
    return best
