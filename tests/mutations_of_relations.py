"""Planted bugs in methods about relations between rows; `test_mutations.py` plants each."""

from mutations import Mutation

METHODS, CRD, RKD = "test_objectives.py", "test_crd.py", "test_rkd.py"

MUTATIONS_OF_RELATIONS = [
    Mutation(
        "pkt picks the row itself too",
        "objectives/pkt.py",
        (("similarities.log().masked_fill(itself, nobody)", "similarities.log()"),),
        METHODS,
        "reference and pkt",
    ),
    Mutation(
        "pkt with the cosine kernel below zero",
        "objectives/pkt.py",
        (("(directions @ directions.T + 1) / 2", "(directions @ directions.T)"),),
        METHODS,
        "reference and pkt",
    ),
    Mutation(
        "pkt swaps teacher and student",
        "objectives/pkt.py",
        (("kl(taught, learnt)", "kl(learnt, taught)"),),
        METHODS,
        "reference and pkt",
    ),
    Mutation(
        "similarity brings the whole matrix to length 1",
        "objectives/similarity.py",
        (("return unit(rows @ rows.T) if", "return unit((rows @ rows.T).flatten()).view(len(rows), -1) if"),),
        METHODS,
        "reference and similarity",
    ),
    Mutation(
        "similarity over the rows, not their square",
        "objectives/similarity.py",
        (("max(len(learnt), 1) ** 2", "max(len(learnt), 1)"),),
        METHODS,
        "reference and similarity",
    ),
    Mutation(
        "a relation counts masked rows",
        "alignment.py",
        (("wide(said[batch.mask].flatten(1))", "wide(said.flatten(1))"),),
        METHODS,
        "masked and similarity",
    ),
    Mutation(
        "crd from one side",
        "objectives/crd.py",
        ((" + self._contrast(theirs, ours, self.learnt, others)", ""),),
        METHODS,
        "reference and crd",
    ),
    Mutation(
        "crd averages the negatives",
        "objectives/crd.py",
        (("-logsigmoid(-logits), 0.0).sum(dim=1)", "-logsigmoid(-logits), 0.0).mean(dim=1)"),),
        METHODS,
        "reference and crd",
    ),
    Mutation(
        "crd lets the teacher learn",
        "objectives/crd.py",
        (("points(teacher, self.teacher_layer, batch).detach()", "points(teacher, self.teacher_layer, batch)"),),
        METHODS,
        "never_the_teacher and crd",
    ),
    Mutation(
        "a row's own entry is a negative of it",
        "objectives/crd.py",
        (
            (
                "apart & (candidates[:, 0] >= 0)",
                "(apart | (torch.arange(len(candidates)) >= len(ours))) & (candidates[:, 0] >= 0)",
            ),
        ),
        CRD,
        "negative_of_all_rows_but_its_own",
    ),
    Mutation(
        "a bank that is not saved",
        "objectives/crd.py",
        (
            (
                'register_buffer("learnt", torch.zeros(bank, width))',
                'register_buffer("learnt", torch.zeros(bank, width), False)',
            ),
            (
                'register_buffer("owners", torch.full((bank, 2), -1))',
                'register_buffer("owners", torch.full((bank, 2), -1), False)',
            ),
        ),
        CRD,
        "negative_of_all_rows_but_its_own",
    ),
    Mutation(
        "student's bank where the teacher's belongs",
        "objectives/crd.py",
        (("self._contrast(ours, theirs, self.taught, others)", "self._contrast(ours, theirs, self.learnt, others)"),),
        CRD,
        "negative_of_all_rows_but_its_own",
    ),
    Mutation(
        "the newest leave the bank first",
        "objectives/crd.py",
        (("[len(new) :])", "[: len(kept)])"),),
        CRD,
        "first_in_first_out",
    ),
    Mutation(
        "silent rows enter the bank",
        "objective.py",
        (("term.keep(student, teacher, seen(term, teacher, batch))", "term.keep(student, teacher, batch)"),),
        CRD,
        "silent_rows",
    ),
    Mutation(
        "training does not remember",
        "training/loop.py",
        (("        self.step.remember(said, here)\n", ""),),
        CRD,
        "resumed_with_its_bank",
    ),
    Mutation(
        "rkd forgets how far the student's rows are for its angles' gradient",
        "objectives/rkd.py",
        (
            (
                "return gradient * by_product, gradient * by_inverse, None, None",
                "return gradient * by_product, None, None, None",
            ),
        ),
        RKD,
        "all_differences",
    ),
    Mutation(
        "rkd takes noise for a direction",
        "objectives/rkd.py",
        (("lengths.detach().square() > _ROUNDINGS * rounding", "lengths > 0"),),
        RKD,
        "almost_touch",
    ),
    Mutation(
        "rkd keeps the angles of the first rows alone",
        "objectives/rkd.py",
        (("by_product += slopes", "by_product = slopes"),),
        RKD,
        "all_differences",
    ),
]
