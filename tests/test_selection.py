"""Law 2: models and seeds are selected on validation rows; what the test rows say changes nothing."""

from dataclasses import replace
from pathlib import Path

from small_runs import same_bits, small, weights

from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.evaluation import answers, score
from limbeck.tasks.classification import Classification


def test_models_are_selected_on_validation_rows_alone(tmp_path: Path) -> None:
    data, task = load("digits", valid=0.1, test=0.2), Classification()
    assert isinstance(data.test, TensorRows)
    wrong = replace(data.test, labels=(data.test.labels + 1) % 10)
    run = small(None, tmp_path / "run", data=data, seeds=2, budget="2 epochs")
    other = small(None, tmp_path / "other", data=replace(data, test=wrong), seeds=2, budget="2 epochs")
    assert run.record.chosen_seed == other.record.chosen_seed
    assert same_bits(weights(run), weights(other))
    for one, two in zip(run.record.results, other.record.results, strict=True):
        assert (one.validation, one.selected_step) == (two.validation, two.selected_step)
        assert one.student.metrics["accuracy"] > 0.5 > two.student.metrics["accuracy"]
    chosen = next(result for result in run.record.results if result.seed == run.record.chosen_seed)
    assert chosen.validation == max(result.validation for result in run.record.results)
    scores = score(answers(run.student(), data.valid, task), task, data.classes)
    assert scores.metrics["accuracy"] == chosen.validation
