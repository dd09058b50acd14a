"""Planted bugs in methods that are divergences between softened distributions; `test_mutations.py` plants each."""

from mutations import Mutation

METHODS, DIVERGENCES = "test_objectives.py", "test_divergences.py"

MUTATIONS_OF_RESPONSES = [
    Mutation(
        "kd standardises by the mean deviation's square",
        "divergences.py",
        (("centred / variance.sqrt()", "centred / variance"),),
        METHODS,
        "reference and kd and standardise",
    ),
    Mutation(
        "kd standardises over the rows",
        "divergences.py",
        (
            ("values.mean(dim=-1, keepdim=True)", "values.mean(dim=0, keepdim=True)"),
            ("centred.square().mean(dim=-1, keepdim=True)", "centred.square().mean(dim=0, keepdim=True)"),
        ),
        METHODS,
        "reference and kd and standardise",
    ),
    Mutation(
        "kd standardises the student alone",
        "objectives/kd.py",
        (("DenseTargets(standardised(teacher.logits))", "DenseTargets(teacher.logits)"),),
        METHODS,
        "reference and kd and standardise",
    ),
    Mutation(
        "logits that are all alike are divided by their rounding",
        "divergences.py",
        (("varies = largest > _ROUNDINGS * torch.finfo(values.dtype).eps * size", "varies = largest > 0 * size"),),
        DIVERGENCES,
        "all_alike",
    ),
    Mutation(
        "a symbol without probability has the gradient NaN",
        "divergences.py",
        (
            (
                "gap = torch.where(probability > 0, teacher - student, 0.0)\n    return (probability * gap)",
                "gap = teacher - student\n    return torch.where(probability > 0, probability * gap, 0.0)",
            ),
        ),
        DIVERGENCES,
        "infinite",
    ),
    Mutation(
        "no T² in reverse_kl",
        "objectives/reverse_kl.py",
        (("return self.temperature**2 * teacher", "return teacher"),),
        METHODS,
        "reference and reverse_kl",
    ),
    Mutation(
        "reverse_kl is forward",
        "divergences.py",
        (("    return kl(student, teacher)\n", "    return kl(teacher, student)\n"),),
        METHODS,
        "reference and reverse_kl",
    ),
    Mutation(
        "jensen_shannon mixes logarithms",
        "divergences.py",
        (("mixed = _mixed(teacher, student, self.beta)", "mixed = self.beta * teacher + (1 - self.beta) * student"),),
        METHODS,
        "reference and jensen",
    ),
    Mutation(
        "jensen_shannon with beta for the student",
        "divergences.py",
        (("mixed = _mixed(teacher, student, self.beta)", "mixed = _mixed(student, teacher, self.beta)"),),
        METHODS,
        "reference and jensen",
    ),
    Mutation(
        "no T² in jensen_shannon",
        "objectives/jensen_shannon.py",
        (("return self.temperature**2 * teacher", "return teacher"),),
        METHODS,
        "reference and jensen",
    ),
    Mutation(
        "what neither has gives the mixture the gradient NaN",
        "divergences.py",
        (("said.clamp(min=torch.finfo(said.dtype).min)", "said"),),
        DIVERGENCES,
        "infinite",
    ),
    Mutation(
        "skew_kl with the skew for the other model",
        "divergences.py",
        (("_mixed(first, second, self.skew)", "_mixed(second, first, self.skew)"),),
        METHODS,
        "reference and skew",
    ),
    Mutation(
        "skew_kl knows one direction",
        "divergences.py",
        (("(student, teacher) if self.reverse else (teacher, student)", "(teacher, student)"),),
        METHODS,
        "reference and skew",
    ),
    Mutation(
        "adaptive_kl's weights have a gradient",
        "divergences.py",
        (("self._share(teacher.detach(), student.detach())", "self._share(teacher, student)"),),
        METHODS,
        "reference and adaptive_kl",
    ),
    Mutation(
        "adaptive_kl weighs the wrong way round",
        "divergences.py",
        (
            (
                "share * kl(teacher, student) + (1 - share) * kl(student, teacher)",
                "(1 - share) * kl(teacher, student) + share * kl(student, teacher)",
            ),
        ),
        METHODS,
        "reference and adaptive_kl",
    ),
    Mutation(
        "adaptive_kl compares the student's likeliest",
        "divergences.py",
        (("student.exp().gather(-1, order)", "student.exp().sort(dim=-1, descending=True).values"),),
        METHODS,
        "reference and adaptive_kl",
    ),
    Mutation(
        "adaptive_kl without a head where the teacher is sure",
        "divergences.py",
        (("        in_tail[..., 0] = False\n", ""),),
        METHODS,
        "reference and adaptive_kl",
    ),
    Mutation(
        "adaptive_kl of equal models divides nothing by nothing",
        "divergences.py",
        (("torch.where(total > 0, of_head / torch.where(total > 0, total, 1.0), 0.5)", "of_head / total"),),
        METHODS,
        "equal and adaptive_kl",
    ),
    Mutation(
        "total_variation without its half",
        "divergences.py",
        ((".abs().sum(dim=-1) / 2", ".abs().sum(dim=-1)"),),
        METHODS,
        "reference and total_variation",
    ),
    Mutation(
        "total_variation is a mean",
        "divergences.py",
        ((".abs().sum(dim=-1) / 2", ".abs().mean(dim=-1) / 2"),),
        METHODS,
        "reference and total_variation",
    ),
    Mutation(
        "T² in total_variation",
        "objectives/total_variation.py",
        (("return self.temperature * teacher", "return self.temperature**2 * teacher"),),
        METHODS,
        "reference and total_variation",
    ),
    Mutation(
        "a switch that is off is written",
        "notation.py",
        (("if not (value is False and parameters[each].default is False)", "if True"),),
        "test_grammar.py",
        "default_objective",
    ),
]
