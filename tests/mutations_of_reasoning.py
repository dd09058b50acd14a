"""Planted bugs in what is taken for a right solution, in what keeps code in, and in the weights of steps and answer."""

from mutations import Mutation

ARITHMETIC, CONFINEMENT, SOLUTIONS, STEPWISE = (
    f"test_{name}.py" for name in ("arithmetic", "confinement", "solutions", "stepwise")
)

MUTATIONS_OF_REASONING = [
    Mutation(
        "a whole number may be rounded",
        "arithmetic.py",
        (
            (
                'if len(side) != 1 or "." not in side[0].text:\n        return Fraction(0)',
                "if len(side) != 1:\n        return Fraction(0)",
            ),
        ),
        ARITHMETIC,
        "by_hand",
    ),
    Mutation(
        "units are mixed",
        "arithmetic.py",
        (("if mixed and _adds(left) and _adds(right):", "if False:"),),
        ARITHMETIC,
        "by_hand",
    ),
    Mutation(
        "powers are calculated however large",
        "arithmetic.py",
        ((" and abs(other) <= _LARGEST_POWER and abs(one) < 10**9", " and abs(other) <= 10**6"),),
        ARITHMETIC,
        "nothing_is_run",
    ),
    Mutation(
        "the first marker is the answer",
        "verifiers/numbers.py",
        (("text[marks[-1].end() :]", "text[marks[0].end() :]"),),
        SOLUTIONS,
        "verified_by_answer",
    ),
    Mutation(
        "a right answer hides a wrong step",
        "verification.py",
        (("self.right and self.steps_right == self.steps", "self.right"),),
        SOLUTIONS,
        "verified_by_answer or wrong_step",
    ),
    Mutation(
        "a text that was cut is verified",
        "solutions/judging.py",
        (("    if not each.finished:\n", "    if False:\n"),),
        SOLUTIONS,
        "made_once",
    ),
    Mutation(
        "what the teacher always solves has the most solutions",
        "solutions/selection.py",
        (("keep * (1 - rate)", "keep * rate"),),
        SOLUTIONS,
        "hard_problems",
    ),
    Mutation(
        "solutions that go the same way are learnt twice",
        "solutions/selection.py",
        (("{verifier.digest(each.text): each", "{each.sample: each"),),
        SOLUTIONS,
        "selection_by",
    ),
    Mutation(
        "questions are divided by where they stand",
        "solutions/problems.py",
        (('hashlib.sha256(f"{spec.seed}|{key}".encode()).digest()', "list(found).index(key)"),),
        SOLUTIONS,
        "divided_by",
    ),
    Mutation(
        "a question in other letters is another problem",
        "solutions/problems.py",
        (("problem.question.lower().split()", "problem.question.split()"),),
        SOLUTIONS,
        "divided_by",
    ),
    Mutation(
        "the token across the boundary belongs to the steps",
        "data/encoding.py",
        (
            (
                "after = first + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], same))",
                "after = first + sum(1 for _ in same)",
            ),
        ),
        STEPWISE,
        "tokens_of_both",
    ),
    Mutation(
        "steps are where the token is, not where it is the next one",
        "data/documents.py",
        (
            (
                "return torch.from_numpy(self._following() >= RATIONALE)",
                "return torch.from_numpy(np.roll(self._following(), 1, axis=1) >= RATIONALE)",
            ),
        ),
        STEPWISE,
        "changes_no_token",
    ),
    Mutation(
        "the answer's term counts the steps as well",
        "objectives/labels.py",
        (
            (
                'batch.rationale if self.of == "rationale" else ~batch.rationale',
                'batch.rationale if self.of == "rationale" else batch.mask',
            ),
        ),
        STEPWISE,
        "two_means",
    ),
    Mutation(
        "a batch loses its rationale when it is sliced",
        "signals.py",
        (
            (
                "rationale=None if self.rationale is None else self.rationale[index],",
                "rationale=None if self.rationale is None else ~self.rationale[index],",
            ),
        ),
        STEPWISE,
        "two_means",
    ),
    Mutation(
        "code brings builtins of its own",
        "confinement/warden.py",
        ((" and not hasattr(builtins, name)", ""),),
        CONFINEMENT,
        "forge or everybody_has",
    ),
    Mutation(
        "objects that claim equality cross",
        "confinement/values.py",
        (
            (
                "if value is None or kind in (bool, int, str):",
                "if value is None or isinstance(value, (bool, int, str)):",
            ),
        ),
        CONFINEMENT,
        "not_plain",
    ),
    Mutation(
        "the filter allows what it does not know",
        "confinement/syscalls.py",
        (
            (
                "lines += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]",
                "lines += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ALLOW)]",
            ),
        ),
        CONFINEMENT,
        "kernel_refuses or the_filter",
    ),
    Mutation(
        "the tests wait for ever",
        "confinement/warden.py",
        (
            (
                "if left <= 0 or not select.select([self.back], [], [], left)[0]:",
                "if not select.select([self.back], [], [], 60)[0]:",
            ),
        ),
        CONFINEMENT,
        "it_ends and sleep",
    ),
    Mutation(
        "memory has no bound",
        "confinement/warden.py",
        (('        "RLIMIT_AS": said["memory"],\n', ""),),
        CONFINEMENT,
        "memory_is_bounded",
    ),
    Mutation(
        "one test that passes is enough",
        "confinement/jail.py",
        (("0 < self.total == self.passed and not self.why", "0 < self.passed"),),
        CONFINEMENT,
        "right_code_passes",
    ),
]
