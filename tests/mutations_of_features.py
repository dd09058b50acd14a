"""Planted bugs in methods that compare layers; `test_mutations.py` plants each."""

from mutations import Mutation

METHODS, LAYERS, SHAPES = "test_objectives.py", "test_features.py", "test_alignment.py"

MUTATIONS_OF_FEATURES = [
    Mutation(
        "patches column by column",
        "alignment.py",
        (
            (
                "features.transpose(1, 2).unflatten(2, (side, side))",
                "features.transpose(1, 2).unflatten(2, (side, side)).mT",
            ),
        ),
        SHAPES,
        "laid_out",
    ),
    Mutation(
        "attention normalised over channels",
        "objectives/attention.py",
        (
            (
                "unit((sizes / where(largest > 0, largest, 1.0)).pow(self.power).sum(dim=-1))",
                "unit(sizes.pow(self.power)).sum(dim=-1)",
            ),
        ),
        METHODS,
        "reference and attention and early",
    ),
    Mutation(
        "attention not normalised",
        "objectives/attention.py",
        (("return unit(", "return ("),),
        METHODS,
        "reference and attention and early",
    ),
    Mutation(
        "vid with a deviation for a variance",
        "objectives/vid.py",
        (("/ variance + variance.log()", "/ variance + 2 * variance.log()"),),
        METHODS,
        "reference and vid",
    ),
    Mutation(
        "vid may be surer than sure",
        "objectives/vid.py",
        (("softplus(self.scale) + LEAST_VARIANCE", "softplus(self.scale)"),),
        METHODS,
        "reference and vid",
    ),
    Mutation(
        "simkd without its second nonlinearity",
        "objectives/simkd.py",
        (("made[1], nn.ReLU(), made[2]", "made[1], nn.Identity(), made[2]"),),
        METHODS,
        "reference and simkd",
    ),
    Mutation(
        "no T² in cwd",
        "objectives/cwd.py",
        (("self.temperature**2 * kl(", "kl("),),
        METHODS,
        "reference and cwd",
    ),
    Mutation(
        "cwd over channels at each place",
        "objectives/cwd.py",
        (("by_position(side).mT", "by_position(side)"),),
        METHODS,
        "reference and cwd",
    ),
    Mutation(
        "cwd the other way round",
        "objectives/cwd.py",
        (("for side in (taught, learnt)", "for side in (learnt, taught)"),),
        METHODS,
        "reference and cwd",
    ),
    Mutation(
        "a mask for all rows",
        "objectives/mgd.py",
        (("Draw.of(batch.ids, self", "Draw.of(torch.zeros_like(batch.ids), self"),),
        METHODS,
        "reference and mgd",
    ),
    Mutation(
        "the same masks for ever",
        "objectives/mgd.py",
        (("self._step = moment.step", "pass"),),
        LAYERS,
        "belongs_to",
    ),
    Mutation(
        "mgd loses what it should keep",
        "objectives/mgd.py",
        ((".T >= self.masked", ".T < self.masked"),),
        METHODS,
        "reference and mgd",
    ),
    Mutation(
        "pkd standardises each place",
        "objectives/pkd.py",
        (("by_position(features)[batch.mask].flatten(0, -2)", "features[batch.mask].flatten(1)"),),
        METHODS,
        "reference and pkd",
    ),
    Mutation(
        "pkd without its half",
        "objectives/pkd.py",
        (("max(ours.numel(), 1) / 2", "max(ours.numel(), 1)"),),
        METHODS,
        "reference and pkd",
    ),
    Mutation(
        "pkd counts masked rows",
        "objectives/pkd.py",
        (("by_position(features)[batch.mask]", "by_position(features)"),),
        METHODS,
        "masked_rows and pkd",
    ),
    Mutation(
        "cosine of the whole row",
        "objectives/cosine.py",
        (("unit(by_position(side))", "unit(by_position(side).flatten(1)[:, None])"),),
        METHODS,
        "reference and cosine",
    ),
    Mutation(
        "cka of rows as they stand",
        "objectives/cka.py",
        (("centred = rows - rows.sum(dim=0) / max(len(rows), 1)", "centred = rows"),),
        METHODS,
        "reference and cka",
    ),
    Mutation(
        "cka learns to the teacher",
        "objectives/cka.py",
        ((".detach().to(learnt.dtype)", ".to(learnt.dtype)"),),
        METHODS,
        "never_the_teacher and cka",
    ),
    Mutation(
        "review from the first stage to the deepest",
        "objectives/review.py",
        (("in reversed(stages)", "in stages"),),
        METHODS,
        "reference and review",
    ),
    Mutation(
        "every level of a review weighs the same",
        "objectives/review.py",
        (("weights.append(weights[-1] / 2)", "weights.append(weights[-1])"),),
        METHODS,
        "reference and review",
    ),
    Mutation(
        "review at levels larger than the layer",
        "objectives/review.py",
        (("if level < min(difference.shape[2:])", "if level <= min(difference.shape[2:])"),),
        METHODS,
        "reference and review",
    ),
]
