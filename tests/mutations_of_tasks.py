"""Planted bugs in tasks, their measures and the methods that go with them; `test_mutations.py` plants each."""

from mutations import Mutation

METHODS, AHEAD, NUMBERS = "test_objectives.py", "test_forecasting.py", "test_regression.py"
SEVERAL, STEPS, ONE = "test_multilabel.py", "test_sequence.py", "test_classification.py"

MUTATIONS_OF_TASKS = [
    Mutation(
        "no T² in event_kd",
        "objectives/event_kd.py",
        (("return self.temperature**2 * binary_kl", "return binary_kl"),),
        METHODS,
        "reference and event_kd",
    ),
    Mutation(
        "binary KL of the student from the teacher",
        "divergences.py",
        (("for logits in (_wide(student), _wide(teacher))", "for logits in (_wide(teacher), _wide(student))"),),
        METHODS,
        "reference and binary_kd",
    ),
    Mutation(
        "binary KL forgets what stays away",
        "divergences.py",
        (("return happens + stays_away", "return happens"),),
        METHODS,
        "reference and event_kd",
    ),
    Mutation(
        "binary_kd averages over classes",
        "objectives/binary_kd.py",
        (("divergence.sum(dim=-1)", "divergence.mean(dim=-1)"),),
        METHODS,
        "reference and binary_kd",
    ),
    Mutation(
        "gradient to the teacher of numbers",
        "objectives/regression.py",
        (("teacher.logits.detach()", "teacher.logits"),),
        METHODS,
        "never_the_teacher and regression",
    ),
    Mutation(
        "regression in the labels' unit",
        "tasks/regression.py",
        (("said / said.new_tensor(self.scale)", "said"),),
        METHODS,
        "reference and regression",
    ),
    Mutation(
        "regression compares the event's logit too",
        "tasks/forecasting.py",
        (
            (
                "wide(self.quantile_values(outputs).flatten(-2)) / (self.scale or 1.0)",
                "wide(outputs) / (self.scale or 1.0)",
            ),
        ),
        METHODS,
        "reference and regression",
    ),
    Mutation(
        "bounded without its margin",
        "objectives/bounded_regression.py",
        (("ours + self.margin > theirs", "ours > theirs"),),
        METHODS,
        "reference and bounded",
    ),
    Mutation(
        "bounded by the wrong side",
        "objectives/bounded_regression.py",
        (("ours + self.margin > theirs", "ours + self.margin < theirs"),),
        METHODS,
        "reference and bounded",
    ),
    Mutation(
        "attention below zero",
        "objectives/attentive_regression.py",
        ((".clamp(min=0) * (ours", " * (ours"),),
        METHODS,
        "reference and attentive",
    ),
    Mutation(
        "attention to the student's error",
        "objectives/attentive_regression.py",
        (("errors(teacher.logits.detach(), batch.labels)", "errors(student.logits, batch.labels)"),),
        METHODS,
        "reference and attentive",
    ),
    Mutation(
        "an unknown reading is a zero",
        "tasks/forecasting.py",
        (("return torch.where(there, said - labels", "return torch.where(there | ~there, said - labels"),),
        METHODS,
        "reference and bounded",
    ),
    Mutation(
        "no event where a reading is missing",
        "tasks/forecasting.py",
        (("happens | torch.isfinite(labels).all(dim=-1)", "happens | torch.isfinite(labels).any(dim=-1)"),),
        AHEAD,
        "could_decide",
    ),
    Mutation(
        "pinball upside down",
        "tasks/forecasting.py",
        (
            (
                "torch.maximum(levels * above, (levels - 1) * above)",
                "torch.maximum((1 - levels) * above, -levels * above)",
            ),
        ),
        AHEAD,
        "pinball",
    ),
    Mutation(
        "rmse of the first step",
        "tasks/forecasting.py",
        (('"rmse": root_mean_square(errors[:, -1])', '"rmse": root_mean_square(errors[:, 0])'),),
        AHEAD,
        "metrics_by_hand",
    ),
    Mutation(
        "changes from the first reading of a row",
        "scales.py",
        (("inputs[:, self.channel, -1]", "inputs[:, self.channel, 0]"),),
        AHEAD,
        "restored_readings",
    ),
    Mutation(
        "changes of the first channel",
        "scales.py",
        (("inputs[:, self.channel, -1]", "inputs[:, 0, -1]"),),
        AHEAD,
        "restored_readings",
    ),
    Mutation(
        "quantiles may cross",
        "scales.py",
        (("functional.softplus(numbers[..., self.middle + 1 :])", "numbers[..., self.middle + 1 :]"),),
        AHEAD,
        "never_cross",
    ),
    Mutation(
        "a task that is asked again finds another scale",
        "tasks/regression.py",
        (("tuple(deviations))", "tuple(round(number, 6) for number in deviations))"),),
        NUMBERS,
        "settled or deviation",
    ),
    Mutation(
        "unknown numbers count in the mean",
        "tasks/regression.py",
        (("/ there.sum(dim=-1).clamp(min=1)", "/ there.shape[-1]"),),
        NUMBERS,
        "label_loss_by_hand",
    ),
    Mutation(
        "loss of several classes is a mean",
        "tasks/multilabel.py",
        (("return loss.sum(dim=-1)", "return loss.mean(dim=-1)"),),
        SEVERAL,
        "label_loss",
    ),
    Mutation(
        "map over classes that no row has",
        "tasks/multilabel.py",
        (("if 0 < truth.sum() < len(truth) else None", "if truth.sum() < len(truth) else None"),),
        SEVERAL,
        "scikit",
    ),
    Mutation(
        "steps without a label are scored",
        "metrics/known.py",
        (("kept = outputs.detach().cpu().double()[there]", "kept = outputs.detach().cpu().double()[there | True]"),),
        STEPS,
        "labelled_steps",
    ),
    Mutation(
        "a rare class weighs less",
        "tasks/classification.py",
        (("flat = flat * weights[labels.flatten()]", "flat = flat / weights[labels.flatten()]"),),
        ONE,
        "balanced",
    ),
    Mutation(
        "unknown labels are counted as classes",
        "tasks/classification.py",
        (("torch.bincount(labels[known])", "torch.bincount(labels)"),),
        ONE,
        "balanced",
    ),
]
