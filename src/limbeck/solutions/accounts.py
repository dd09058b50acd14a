"""What was spent and found: the ledger of a round, and the page that says it all."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from limbeck.languages.writing import Writer
from limbeck.recipe import Recipe
from limbeck.run import Run
from limbeck.servers.correspondence import Spent
from limbeck.servers.writer import ServerWriter
from limbeck.solutions.judging import Sample
from limbeck.solutions.lessons import Pupil

_WHO = {"student": "steps and answers", "alone": "answers alone", "teacher": "the teacher"}


def accounts(
    number: int,
    samples: Sequence[Sample],
    chosen: Mapping[str, int],
    runs: Mapping[Pupil, Run],
    teacher: Writer | None,
) -> dict[str, Any]:
    """The ledger of a round, as JSON.

    Args:
        number: Of the round, from 1.
        samples: Its own, with verdicts.
        chosen: What the selection says of all rounds so far.
        runs: What was trained.
        teacher: Who wrote the samples; None where they came with the data.

    Returns:
        What the round's samples are and took (`tokens` written and `asked`, `cost` where a server has prices), what was
        selected of all so far, and what each student read: documents, tokens, steps.
    """
    verdicts = [each.verdict for each in samples if each.verdict is not None]
    said: dict[str, Any] = {
        "samples": len(samples),
        "cut": sum(not each.finished for each in samples),
        "right": sum(verdict.right for verdict in verdicts),
        "sound": sum(verdict.sound for verdict in verdicts),
        "steps": sum(verdict.steps for verdict in verdicts),
        "steps_right": sum(verdict.steps_right for verdict in verdicts),
        "tokens": sum(each.tokens for each in samples),
        # A prompt is read once here, and for every sample by a server.
        "asked": sum(each.asked for each in samples),
        "teacher": "written solutions" if teacher is None else teacher.name,
    }
    if isinstance(teacher, ServerWriter):
        spent = Spent(len(samples), said["asked"], said["tokens"])
        said["cost"] = spent.cost(teacher.client.server.prices)
    return {
        "round": number,
        "sampled": said,
        "selected": dict(chosen),
        "learnt": {k: _learnt(v) for k, v in runs.items()},
    }


def page(name: str, found: Mapping[str, Any], recipe: Recipe) -> str:
    """The results as Markdown."""
    split = found["problems"]
    lines = [
        f"# {name}",
        "",
        f"{split['train']:,} problems to learn from, {split['valid']:,} to choose weights by, {split['test']:,} held "
        f"out; the verifier is `{found['verifier']}`.",
        "",
        "## Held-out problems, answered greedily",
        "",
        "| learnt from | exact match, % | steps that are right, % | tokens an answer | seeds |",
        "|---|---|---|---|---|",
    ]
    lines += [_row(_WHO[who], results) for who, results in found["exam"].items()]
    learnt = found["rounds"][-1]["learnt"]
    budgets = "; ".join(
        f"{'steps and answers' if who == 'steps' else 'answers alone'}: {each['steps']:,} steps, {each['read']:,} "
        f"tokens read, {each['learnt']:,} learnt, of {each['documents']:,} documents"
        for who, each in learnt.items()
    )
    lines += ["", f"Both students have the same budget ({recipe.budget}) and seeds. {budgets}.", "", "## Rounds", ""]
    lines += ["| round | samples | cut | right | sound | tokens written | cost | solutions learnt | of problems |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for each in found["rounds"]:
        said, chosen = each["sampled"], each["selected"]
        cost = f"{said['cost']:.4f}" if "cost" in said else "-"
        lines.append(
            f"| {each['round']} | {said['samples']:,} | {said['cut']:,} | {said['right']:,} | {said['sound']:,} | "
            f"{said['tokens']:,} | {cost} | {chosen['kept']:,} | {chosen['problems'] - chosen['never']:,} of "
            f"{chosen['problems']:,} |"
        )
    lines += ["", "Right: the answer is; sound: every step that could be checked is as well.", ""]
    return "\n".join(lines)


def _row(who: str, results: Sequence[Mapping[str, Any]]) -> str:
    shares = [_spread([100 * each[key] for each in results if key in each]) for key in ("exact", "arithmetic")]
    seeds = ", ".join(str(each["seed"]) for each in results if "seed" in each) or "-"
    return f"| {who} | {shares[0]} | {shares[1]} | {mean(each['tokens'] for each in results):.1f} | {seeds} |"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def _learnt(run: Run) -> dict[str, int]:
    """What a student of a run read, from its data and steps."""
    data, recipe = run.record.data, run.recipe()
    train = data["splits"]["train"]
    documents = data["documents"]["train"]
    steps = run.record.results[0].steps
    share = steps * min(recipe.training.batch, train["rows"]) / train["rows"]
    return {
        "documents": documents["documents"],
        "steps": steps,
        "read": round(share * documents["tokens"]),
        "learnt": round(share * train["learnt"]),
    }
