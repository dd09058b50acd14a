"""Planted bugs in the kinds of soft targets, and in what is refused of them before training."""

from mutations import Mutation

TARGETS, SAMPLED, KEPT = "test_targets.py", "test_targets_sampled.py", "test_kept_teachers.py"
BY_HAND = "value_and_gradient_are_the_definitions"

MUTATIONS_OF_TARGETS = [
    Mutation(
        "the teacher's tail is softened as one symbol",
        "targets/topk.py",
        (
            (
                "rest = tails(logits, symbols, temperatures)",
                "rest = tails(logits, symbols, [1.0] * len(temperatures)) / torch.tensor(temperatures)",
            ),
        ),
        TARGETS,
        f"{BY_HAND} and 3 and kl",
    ),
    Mutation(
        "equal models with a flat tail are two nats apart",
        "targets/topk.py",
        (
            (
                "rest = tails(logits, symbols, temperatures)",
                "rest = tails(logits, symbols, [1.0] * len(temperatures)) / torch.tensor(temperatures)",
            ),
        ),
        TARGETS,
        "softened_as_one_symbol",
    ),
    Mutation(
        "a student's tail is not counted",
        "targets/topk.py",
        (
            (
                "ours = merged(student, symbols, temperature, missing=self.partial)",
                "ours = torch.cat([softened(student.gather(-1, symbols), temperature), tail], dim=-1)",
            ),
        ),
        TARGETS,
        f"{BY_HAND} and 3 and kl",
    ),
    Mutation(
        "a student's tail has no gradient",
        "partial.py",
        (("(raised * shares)", "(raised * 0.0)"),),
        TARGETS,
        f"{BY_HAND} and 3 and kl",
    ),
    Mutation(
        "a kept symbol's gradient has the tail's in it",
        "partial.py",
        (
            (
                "(raised * shares).scatter_(-1, symbols, gradient[..., :-1])",
                "(raised * shares).scatter_(-1, symbols, gradient[..., :-1] + gradient[..., -1:])",
            ),
        ),
        TARGETS,
        f"{BY_HAND} and 3 and kl",
    ),
    Mutation(
        "the tail of another temperature",
        "targets/topk.py",
        (("self.temperatures.index(temperature), None", "0, None"),),
        TARGETS,
        f"{BY_HAND} and 3 and kl",
    ),
    Mutation(
        "a tail as 1 minus the rest",
        "partial.py",
        (
            (
                "found.append(largest / temperature + raised.sum(dim=-1, keepdim=True).log())",
                "kept = (logits / temperature).softmax(-1).gather(-1, symbols).sum(-1, keepdim=True)\n"
                "        found.append((logits / temperature).logsumexp(-1, keepdim=True) + (1 - kept).log())",
            ),
        ),
        TARGETS,
        "far_below_rounding",
    ),
    Mutation(
        "a rest of nothing has a gradient that is no number",
        "partial.py",
        (("total.clamp(min=torch.finfo(total.dtype).tiny)", "total"),),
        TARGETS,
        "finite_and_sum_to_zero",
    ),
    Mutation(
        "what merging can raise is answered",
        "targets/topk.py",
        (("if not is_monotone(divergence):", "if False:"),),
        TARGETS,
        "refuses_by_name",
    ),
    Mutation(
        "what says nothing is taken for monotone",
        "divergences.py",
        (('getattr(divergence, "monotone", False)', 'getattr(divergence, "monotone", True)'),),
        TARGETS,
        "refuses_by_name or can_raise_adaptive_kl",
    ),
    Mutation(
        "draws weigh alike however often they fell",
        "targets/sampled.py",
        (
            (
                "self.counts.to(surprise.dtype) / self.counts.sum(dim=-1, keepdim=True)",
                "(self.counts > 0).to(surprise.dtype) / (self.counts > 0).sum(dim=-1, keepdim=True)",
            ),
        ),
        SAMPLED,
        "right_on_average and 5-1.0",
    ),
    Mutation(
        "the entropy is left out",
        "targets/sampled.py",
        ((".sum(dim=-1) - self.entropy.to(surprise.dtype)", ".sum(dim=-1)"),),
        SAMPLED,
        "value_and_gradient_are_right_on_average",
    ),
    Mutation(
        "the entropy at temperature 1",
        "targets/sampled.py",
        (
            (
                "entropy = -torch.where(logs > -math.inf, logs.exp() * logs, 0.0).sum(dim=-1)",
                "logs = tempered(logits.double(), 1.0)\n"
                "        entropy = -torch.where(logs > -math.inf, logs.exp() * logs, 0.0).sum(dim=-1)",
            ),
        ),
        SAMPLED,
        "value_and_gradient_are_right_on_average and 2.0",
    ),
    Mutation(
        "draws from a proposal are not weighed",
        "targets/sampled.py",
        (("(logs - drawn).gather(-1, symbols).exp()", "None"),),
        SAMPLED,
        "value_and_gradient_are_right_on_average and 0.6",
    ),
    Mutation(
        "each draw is at the one before",
        "targets/sampled.py",
        (("right=True)", "right=True).sub(1).clamp(min=0)"),),
        SAMPLED,
        "mean_surprise_of_the_draws",
    ),
    Mutation(
        "what fills up a row is not left out",
        "targets/sampled.py",
        (("torch.where(self.counts > 0, -said, 0.0)", "-said"),),
        SAMPLED,
        "rules_out_a_symbol",
    ),
    Mutation(
        "the gradient of draws at another temperature",
        "partial.py",
        (("slope = gradient / ctx.temperature", "slope = 1.0 * gradient"),),
        SAMPLED,
        "mean_surprise_of_the_draws",
    ),
    Mutation(
        "all positions of a text draw alike",
        "replay.py",
        (
            (
                ".T.reshape(-1, *shape)",
                ".T[:, : shape[-1]].unsqueeze(1).expand(-1, *shape[:-1], -1).reshape(-1, *shape)",
            ),
        ),
        SAMPLED,
        "uniform_and_each_of_its_own",
    ),
    Mutation(
        "a draw depends on how many positions follow",
        "replay.py",
        ((".T.reshape(-1, *shape)", ".T.reshape(-1, *shape[::-1]).mT"),),
        SAMPLED,
        "follow_from_seed_id_view_and_position",
    ),
    Mutation(
        "a chunk's gradient is the first's",
        "targets/hidden.py",
        (("(slopes[few],) =", "(slopes[: value.shape[0]],) ="),),
        TARGETS,
        "several_chunks",
    ),
    Mutation(
        "the weights of rows do not reach the student",
        "targets/hidden.py",
        (("ctx.gradient * upstream[:, None]", "ctx.gradient"),),
        TARGETS,
        f"{BY_HAND} and hidden and kl",
    ),
    Mutation(
        "a head without its bias",
        "targets/hidden.py",
        (("self.weight.to(precision), bias)", "self.weight.to(precision))"),),
        TARGETS,
        f"{BY_HAND} and hidden and kl",
    ),
    Mutation(
        "the distance from itself",
        "targets/distance.py",
        (("(DenseTargets(teacher), targets)", "(targets, targets)"),),
        TARGETS,
        "distance_from_dense",
    ),
    Mutation(
        "nobody asks what lies between a schedule's ends",
        "objective.py",
        (("between=found[2].soft - ends.soft", "between=frozenset()"),),
        KEPT,
        "moves_between",
    ),
    Mutation(
        "a method reads logits that were not kept",
        "preflight.py",
        (("heard.logits is None and (said.logits", "False and (said.logits"),),
        KEPT,
        "refused_before_training and logit_mse",
    ),
]
