"""Planted bugs: each is a change to one file of the library that a named test must notice.

The tests that compute what they expect in another way (a paper's equation in loops, another path through the code) are
what keeps these out; `test_mutations.py` plants each in a copy of the library and shows that its test fails.
"""

import contextlib
import json
import multiprocessing
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SLOW_TO_IMPORT = ["pytest", "torch", "numpy.testing", "hypothesis", "pydantic", "scipy", "sklearn", "accelerate"]


@dataclass(frozen=True)
class Mutation:
    """A bug: a file (from src/limbeck or runtime/src on), edits, and the test that notices (its file, a -k text)."""

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    test: str
    only: str


LIVE, RECORDED, SPINE = "test_teachers.py", "test_recordings.py", "test_distillation.py"
METHODS, DIVERGENCES = "test_objectives.py", "test_divergences.py"
FUNCTION, ESTIMATOR, ONNX = "test_teachers_function.py", "test_teachers_estimator.py", "test_teachers_onnx.py"
SERIES, SILENT, SKOPS = "test_series_students.py", "test_silent_rows.py", "test_teachers_skops.py"

MUTATIONS = [
    Mutation(
        "no T² in kd",
        "objectives/kd.py",
        (("return self.temperature**2 * targets", "return targets"),),
        METHODS,
        "reference and kd",
    ),
    Mutation(
        "KL(student || teacher)",
        "divergences.py",
        (
            ("probability = teacher.exp()", "probability = student.exp()"),
            ("probability > 0, teacher - student, 0.0", "probability > 0, student - teacher, 0.0"),
        ),
        METHODS,
        "reference and kd",
    ),
    Mutation(
        "mean over classes",
        "divergences.py",
        (("(probability * gap).sum(dim=-1)", "(probability * gap).mean(dim=-1)"),),
        METHODS,
        "reference and kd",
    ),
    Mutation(
        "untempered teacher",
        "targets/dense.py",
        (("tempered(self.logits.detach(), temperature)", "tempered(self.logits.detach(), 1.0)"),),
        METHODS,
        "reference and kd",
    ),
    Mutation(
        "teacher left in train mode, unwatched",
        "teachers/module.py",
        (("self.model.eval().requires_grad_", "self.model.requires_grad_"), ("if part.training:", "if False:")),
        LIVE,
        "eval_mode",
    ),
    Mutation(
        "nobody watches the teacher's mode",
        "teachers/module.py",
        (("if part.training:", "if False:"),),
        LIVE,
        "moves_is_noticed",
    ),
    Mutation(
        "teacher asked with gradients",
        "teachers/module.py",
        (("no_grad():\n            return listen(", "enable_grad():\n            return listen("),),
        LIVE,
        "without_gradient",
    ),
    Mutation(
        "no detach of the soft targets",
        "targets/dense.py",
        (("self.logits.detach()", "self.logits"),),
        METHODS,
        "never_the_teacher and kd",
    ),
    Mutation(
        "no detach of the teacher's layer",
        "alignment.py",
        (("wide(taught).detach()", "wide(taught)"),),
        METHODS,
        "never_the_teacher and hint",
    ),
    Mutation(
        "mask ignored",
        "reduction.py",
        (("torch.where(counted, value, torch.zeros_like(value)).sum() / self.whole", "value.sum() / self.whole"),),
        METHODS,
        "masked and labels",
    ),
    Mutation(
        "mean over all rows, not over the counted ones",
        "objective.py",
        (("counted.sum().clamp(min=1) if counts is None", "counted.numel() if counts is None"),),
        METHODS,
        "masked and labels",
    ),
    Mutation(
        "rkd without the mean distance",
        "objectives/rkd.py",
        (("return lengths / torch.where(mean > 0, mean, 1.0)", "return lengths"),),
        METHODS,
        "reference and rkd",
    ),
    Mutation(
        "hint without its half",
        "objectives/hint.py",
        ((".sum(dim=-1) / 2", ".sum(dim=-1)"),),
        METHODS,
        "reference and hint",
    ),
    Mutation(
        "hint reads channels as tokens",
        "alignment.py",
        (('features.transpose(1, 2) if layout == "channels" else features', "features"),),
        METHODS,
        "reference and hint",
    ),
    Mutation(
        "hint compares the class token",
        "alignment.py",
        (("return sequence[:, prefix:]", "return sequence"),),
        METHODS,
        "reference and hint",
    ),
    Mutation(
        "hint pools in bins that leave the last places out",
        "alignment.py",
        (("((bins + 1) * length + size - 1) // size", "(bins + 1) * (length // size)"),),
        METHODS,
        "reference and hint",
    ),
    Mutation(
        "tcn looks ahead",
        "students/tcn.py",
        (("pad(series, (self.reach, 0))", "pad(series, (self.reach - self.reach // 2, self.reach // 2))"),),
        SERIES,
        "earlier_answer",
    ),
    Mutation(
        "tcn without dilation",
        "students/tcn.py",
        (("TemporalBlock(size, kernel, 2 ** (number - 1),", "TemporalBlock(size, kernel, 1,"),),
        SERIES,
        "receptive_field",
    ),
    Mutation(
        "a patch answers before it is full",
        "students/transformer.py",
        (("if causal and patch > 1 else None", "if False else None"),),
        SERIES,
        "earlier_answer",
    ),
    Mutation(
        "attention looks ahead",
        "students/transformer.py",
        (("is_causal=self.causal", "is_causal=False"),),
        SERIES,
        "earlier_answer or prefixes",
    ),
    Mutation(
        "view ignored in the recording",
        "recordings/store.py",
        (("numbers = views * self.manifest.shards_per_view + positions", "numbers = positions"),),
        RECORDED,
        "several_views",
    ),
    Mutation(
        "augmentation drawn by place in the batch",
        "data/augment.py",
        (("draw = Draw.of(ids, seed, view)", "draw = Draw.of(torch.arange(len(ids)), seed, view)"),),
        "test_augment.py",
        "permuted_batch",
    ),
    Mutation(
        "class map ignored",
        "model.py",
        (("return outputs if self.class_index is None else outputs[..., self.class_index]", "return outputs"),),
        LIVE,
        "classes_of_the_data",
    ),
    Mutation(
        "control sees the rows in another order",
        "training/loop.py",
        (("                seed=plan.seed,", '                seed=plan.seed + (self.who == "control"),'),),
        SPINE,
        "control_is_the_student",
    ),
    Mutation(
        "dropout goes on from where the generator was",
        "training/loop.py",
        (("        self._seed(self.plan.seed * 1_000_003 + step)\n", ""),),
        "test_resume.py",
        "uninterrupted and student-25",
    ),
    Mutation(
        "optimiser starts anew on resume",
        "training/loop.py",
        (('        checkpoint.restore_optimizer(self.optimizer, checkpoint.under("optimizer", tensors))\n', ""),),
        "test_resume.py",
        "uninterrupted and student-25",
    ),
    Mutation(
        "models are selected on test rows",
        "workshop.py",
        (("valid=self.data.valid,", "valid=self.data.test,"),),
        "test_selection.py",
        "validation_rows",
    ),
    Mutation(
        "silent rows count in soft terms",
        "objective.py",
        (
            (
                "return batch if teacher.said is None or not term.needs().teacher else batch.only(teacher.said)",
                "return batch",
            ),
        ),
        SILENT,
        "left_out_of_what_needs",
    ),
    Mutation(
        "silent rows lose their labels",
        "objective.py",
        (("teacher.said is None or not term.needs().teacher else", "teacher.said is None else"),),
        SILENT,
        "left_out_of_what_needs",
    ),
    Mutation(
        "silence is not recorded",
        "recordings/form.py",
        (("if signals.said is not None:", "if False:"),),
        SILENT,
        "silent_rows_stay_silent",
    ),
    Mutation(
        "failures of an earlier sitting are forgotten",
        "recorder.py",
        (
            ("self.asked.teacher.recall(writer.silent())", "pass"),
            ("asked.teacher.recall(writer.silent_here(place))", "pass"),
        ),
        SILENT,
        "what_was_recorded_is_kept",
    ),
    Mutation(
        "a stop throws away what was said",
        "recorder.py",
        (("        except TeacherStopped:\n            writer.save(place)\n", "        except TeacherStopped:\n"),),
        SILENT,
        "what_was_recorded_is_kept",
    ),
    Mutation(
        "a function works on the student's rows",
        "teachers/function.py",
        (
            ("batch.inputs.detach().cpu().clone()", "batch.inputs.detach().cpu()"),
            ("given = rows.clone()[0] if self.each else rows.clone()", "given = rows[0] if self.each else rows"),
        ),
        FUNCTION,
        "cannot_change_what_the_student_sees",
    ),
    Mutation(
        "an ensemble speaks where a member is silent",
        "teachers/ensemble.py",
        (("torch.stack(spoke).all(dim=0)", "torch.stack(spoke).any(dim=0)"),),
        SILENT,
        "an_ensemble_is_silent",
    ),
    Mutation(
        "no floor under a forest's zeros",
        "teachers/answers.py",
        ((".clamp(min=floor)", ".clamp(min=1e-30)"),),
        ESTIMATOR,
        "within_half_a_vote",
    ),
    Mutation(
        "classes by position",
        "teachers/answers.py",
        (("return [theirs.index(name) for name in ours]", "return list(range(len(ours)))"),),
        ESTIMATOR,
        "matched_by_name",
    ),
    Mutation(
        "the filling of a fixed batch is kept",
        "teachers/onnx.py",
        (("dtype=np.float32)[: len(piece)]", "dtype=np.float32)"),),
        ONNX,
        "filled_up",
    ),
    Mutation(
        "weights outside of the folder",
        "teachers/onnx.py",
        (("if not place.is_relative_to(folder):", "if False:"),),
        ONNX,
        "belong_to_it",
    ),
    Mutation(
        "trees that point out of themselves",
        "teachers/trees.py",
        (("(children < len(leaf))", "(children < 1 << 40)"),),
        SKOPS,
        "point_out_of_it",
    ),
]


def changed(mutation: Mutation) -> str:
    """The file with the bug in it.

    Raises:
        LookupError: When the text that is to be changed is not there, or more than once.
    """
    text = (place(mutation, ROOT / "src", ROOT / "runtime" / "src")).read_text()
    for before, after in mutation.edits:
        if text.count(before) != 1:
            raise LookupError(f"{mutation.file} holds {before!r} {text.count(before)} times: mend tests/mutations.py")
        text = text.replace(before, after)
    return text


def place(mutation: Mutation, library: Path, runtime: Path) -> Path:
    """Where the file of a bug lies, given the folders that hold the two packages."""
    return (
        runtime / mutation.file if mutation.file.startswith("limbeck_runtime/") else library / "limbeck" / mutation.file
    )


def planted(mutation: Mutation, folder: Path) -> Path:
    """A copy of both packages with the bug in it."""
    source, text = folder / "src", changed(mutation)
    for whole in (ROOT / "src", ROOT / "runtime" / "src"):
        shutil.copytree(whole, source, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    place(mutation, source, source).write_text(text)
    return source


def killers(mutation: Mutation, folder: Path) -> list[str]:
    """The first test that fails with the bug planted; a run that ends in anything but failed tests has none.

    The tests run in a fork of a process that has imported what is slow to import, but nothing of Limbeck, so that one
    bug costs little more than its tests. Annotations are not executed there: a bug shall be found by its numbers.
    """
    kinds = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in kinds else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(SLOW_TO_IMPORT)
    found = folder / "failed.json"
    process = context.Process(target=_tested, args=(mutation, planted(mutation, folder), found))
    process.start()
    process.join()
    return list(json.loads(found.read_text())) if found.exists() else []


class _Failed:
    """A plugin of pytest that keeps the names of the tests that fail."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and report.when == "call":
            self.names.append(report.nodeid.partition("::")[2])


def _tested(mutation: Mutation, source: Path, found: Path) -> None:
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=str(source))
    # Which methods' cases are looked at: those that are named, and all where none is.
    os.environ["LIMBECK_METHODS"] = mutation.only
    sys.path.insert(0, str(source))
    os.chdir(ROOT)
    with (found.parent / "output.txt").open("w") as output, contextlib.redirect_stdout(output):
        import pytest

        failed = _Failed()
        options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib --strict-markers"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-x", "-k", mutation.only]
        code = pytest.main([*options, f"tests/{mutation.test}"], plugins=[failed])
    if code == pytest.ExitCode.TESTS_FAILED:
        found.write_text(json.dumps(failed.names))
