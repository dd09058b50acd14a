"""Planted bugs in what changes while a student trains, in students that teach each other, and in several teachers."""

from mutations import Mutation

METHODS, SCHEDULES, CURRICULA = "test_objectives.py", "test_schedules.py", "test_curricula.py"
TOGETHER, SEVERAL = "test_mutual.py", "test_several_teachers.py"

MUTATIONS_OF_SCHEDULES = [
    Mutation(
        "a quarter of a cosine",
        "schedules.py",
        (("(1 - math.cos(math.pi * passed)) / 2", "1 - math.cos(math.pi * passed / 2)"),),
        SCHEDULES,
        "half_a_cosine",
    ),
    Mutation(
        "a schedule takes the whole training whatever it says",
        "schedules.py",
        (("max(1, steps - 1) if self.over is None else Budget.parse(self.over).steps(steps_per_epoch)", "steps - 1"),),
        SCHEDULES,
        "half_a_cosine",
    ),
    Mutation(
        "a schedule goes on beyond its end",
        "schedules.py",
        (
            (
                "min(1.0, moment.step / self.length(moment.steps, moment.steps_per_epoch))",
                "moment.step / self.length(moment.steps, moment.steps_per_epoch)",
            ),
        ),
        SCHEDULES,
        "half_a_cosine",
    ),
    Mutation(
        "the last step is not yet the end",
        "schedules.py",
        (("max(1, steps - 1) if", "max(1, steps) if"),),
        SCHEDULES,
        "half_a_cosine",
    ),
    Mutation(
        "a factor moves one end of a schedule",
        "schedules.py",
        (("factor * self.start, factor * self.end", "factor * self.start, self.end"),),
        SCHEDULES,
        "products",
    ),
    Mutation(
        "a weight stays at its start",
        "objective.py",
        (("self.weight = self.schedule.at(moment)", "self.weight = self.schedule.start"),),
        SCHEDULES,
        "a_weight_and",
    ),
    Mutation(
        "an argument stays at its start",
        "objective.py",
        (("self._set({name: schedule.at(moment)", "self._set({name: schedule.start"),),
        SCHEDULES,
        "a_weight_and",
    ),
    Mutation(
        "what a method needs at the end is not asked for",
        "objective.py",
        (("ends = found[0] | found[1]", "ends = found[0]"),),
        SCHEDULES,
        "a_weight_and",
    ),
    Mutation(
        "training never advances",
        "training/loop.py",
        (("advance(Moment(step,", "advance(Moment(0,"),),
        SCHEDULES,
        "training_follows",
    ),
    Mutation(
        "gradient through taid's target",
        "objectives/taid.py",
        (("ours.detach()", "ours"),),
        METHODS,
        "reference and taid",
    ),
    Mutation(
        "taid mixes probabilities",
        "objectives/taid.py",
        (
            (
                "(1 - self.share) * ours.detach() + self.share * theirs",
                "((1 - self.share) * ours.detach().softmax(-1) + self.share * theirs.softmax(-1)).log()",
            ),
        ),
        METHODS,
        "reference and taid",
    ),
    Mutation(
        "taid's share is the student's",
        "objectives/taid.py",
        (("(1 - self.share) * ours.detach() + self.share", "self.share * ours.detach() + (1 - self.share)"),),
        METHODS,
        "reference and taid",
    ),
    Mutation(
        "ctkd's temperature descends",
        "objectives/ctkd.py",
        (("held - self.strength", "held + self.strength"),),
        METHODS,
        "gradient_are_the_reference and ctkd",
    ),
    Mutation(
        "no gradient through ctkd's T²",
        "objectives/ctkd.py",
        (("temperature.square()", "temperature.detach().square()"),),
        METHODS,
        "gradient_are_the_reference and ctkd",
    ),
    Mutation(
        "ctkd's range is taken for its end",
        "objectives/ctkd.py",
        (("self.span * torch.sigmoid", "(self.span - self.lowest) * torch.sigmoid"),),
        METHODS,
        "reference and ctkd",
    ),
    Mutation(
        "weight decay pulls at a temperature",
        "training/plan.py",
        (
            ("if p.ndim > 1]", "if p.ndim != 1]"),
            ("if p.ndim <= 1]", "if p.ndim == 1]"),
        ),
        CURRICULA,
        "weight_decay",
    ),
    Mutation(
        "peers' divergence the other way round",
        "objectives/mutual.py",
        (("kl(other, own)", "kl(own, other)"),),
        METHODS,
        "reference and mutual",
    ),
    Mutation(
        "a peer pays for what it teaches",
        "objectives/mutual.py",
        (("[other.detach() for other in", "[other for other in"),),
        METHODS,
        "reference and mutual",
    ),
    Mutation(
        "sum over the other peers",
        "objectives/mutual.py",
        (("for other in others]).mean(dim=0)", "for other in others]).sum(dim=0)"),),
        METHODS,
        "reference and mutual",
    ),
    Mutation(
        "peers learn an unknown label",
        "objectives/mutual.py",
        (("torch.where(batch.labelled, loss, 0.0)", "loss"),),
        METHODS,
        "reference and mutual",
    ),
    Mutation(
        "peers start alike",
        "students/peers.py",
        (("[family(inputs, outputs) for _ in range(count)]", "[family(inputs, outputs)] * count"),),
        TOGETHER,
        "differ",
    ),
    Mutation(
        "the last peer answers",
        "students/peers.py",
        (("return said[0]", "return said[-1]"),),
        TOGETHER,
        "first_one_answers",
    ),
    Mutation(
        "weights of teachers over the rows",
        "objectives/ca_mkd.py",
        (("torch.softmax(torch.stack(losses), dim=0)", "torch.softmax(torch.stack(losses), dim=1)"),),
        METHODS,
        "reference and ca_mkd",
    ),
    Mutation(
        "weights of teachers do not sum to 1",
        "objectives/ca_mkd.py",
        ((" / (count - 1)\n    return", "\n    return"),),
        SEVERAL,
        "agree",
    ),
    Mutation(
        "the worst teacher is heard most",
        "objectives/ca_mkd.py",
        (
            (
                "(1 - torch.softmax(torch.stack(losses), dim=0)) / (count - 1)",
                "torch.softmax(torch.stack(losses), dim=0)",
            ),
        ),
        SEVERAL,
        "wrong_on_a_row",
    ),
    Mutation(
        "teachers are weighed by the first half of a mixed row",
        "objectives/ca_mkd.py",
        (
            (
                "batch.by_label(partial(batch.task.label_loss, logits))",
                "batch.task.label_loss(logits, batch.labels)",
            ),
        ),
        METHODS,
        "reference and ca_mkd",
    ),
    Mutation(
        "teachers are weighed by an unknown label",
        "objectives/ca_mkd.py",
        (("torch.where(batch.labelled, weights, 1 / count)", "weights"),),
        METHODS,
        "reference and ca_mkd",
    ),
    Mutation(
        "no T² in ca_mkd",
        "objectives/ca_mkd.py",
        (("return self.temperature**2 * (_weights", "return (_weights"),),
        METHODS,
        "reference and ca_mkd",
    ),
    Mutation(
        "routed to the largest loss",
        "objectives/routed.py",
        (("_first_largest([-loss for loss in losses])", "_first_largest(losses)"),),
        METHODS,
        "reference and routed",
    ),
    Mutation(
        "routed by an unknown label",
        "objectives/routed.py",
        (
            (
                "torch.where(batch.labelled, _first_largest([-loss for loss in losses]), surest)",
                "_first_largest([-loss for loss in losses])",
            ),
        ),
        METHODS,
        "reference and routed",
    ),
    Mutation(
        "routed by the first half of a mixed row",
        "objectives/routed.py",
        (
            (
                "batch.by_label(partial(batch.task.label_loss, own))",
                "batch.task.label_loss(own, batch.labels)",
            ),
        ),
        METHODS,
        "reference and routed",
    ),
    Mutation(
        "a partner's share is the first half's",
        "signals.py",
        (("return share * own + (1 - share) * asked", "return (1 - share) * own + share * asked"),),
        METHODS,
        "reference and (labels or ca_mkd or mutual)",
    ),
]
