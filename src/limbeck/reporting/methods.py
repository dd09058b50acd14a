"""The comparison of methods as a Markdown page, written from the run files alone."""

from collections.abc import Mapping, Sequence

from limbeck.records import RunRecord, spread
from limbeck.reporting.ranking import ALONE, Contender, Difference, Ranking
from limbeck.reporting.units import Unit, metric


def methods_page(
    name: str,
    ranked: Ranking,
    records: Sequence[RunRecord],
    *,
    teacher: RunRecord | None = None,
    failures: Mapping[str, str] | None = None,
    command: str = "",
) -> str:
    """The page: what was compared on what, the table, what is outside chance, and what failed.

    Args:
        name: Of the comparison.
        ranked: The contenders.
        records: The runs behind it; what they share (student, data, budget, machine) is said once.
        teacher: The teacher's own run, where it is one.
        failures: Methods that could not be trained, with the reason.
        command: What was typed.
    """
    unit, first = metric(ranked.metric), records[0]
    parts = [
        f"# {name}: methods side by side",
        _setting(first, teacher, unit, command),
        _table(ranked, unit),
        _verdict(ranked, unit),
        _reading(ranked),
    ]
    if failures:
        failed = [f"- `{method}`: {' '.join(reason.split())}" for method, reason in failures.items()]
        parts.append("\n".join(["## Not trained", "", *failed]))
    return "\n\n".join(parts) + "\n"


def _setting(record: RunRecord, teacher: RunRecord | None, unit: Unit, command: str) -> str:
    recipe, machine = record.recipe, record.environment
    splits = record.data.get("splits", {})
    rows = ", ".join(f"{part['rows']:,} {split}" for split, part in splits.items() if "rows" in part)
    training = ", ".join(f"{key} {value}" for key, value in recipe.get("training", {}).items())
    lines = [
        f"- data: {recipe['data'].get('source', '')} ({rows} rows), augmentation: {recipe.get('augment') or 'none'}",
        f"- student: `{recipe['student']}`, {record.results[0].student.cost.get('parameters', 0):,.0f} parameters",
        f"- budget: {recipe['budget']}; {training}",
        f"- machine: {machine.get('processor', machine.get('cpu', 'unknown'))}, torch {machine.get('torch', '?')}",
    ]
    if teacher is not None:
        result = next(result for result in teacher.results if result.seed == teacher.chosen_seed)
        score = unit.write(result.student.metrics[unit.name])
        size = result.student.cost.get("parameters", 0)
        lines.insert(
            1, f"- teacher: `{teacher.recipe['student']}`, {size:,.0f} parameters, {unit.label} {score} on test"
        )
    if command:
        lines.append(f"- written by `{command}`")
    return "\n".join(lines)


def _table(ranked: Ranking, unit: Unit) -> str:
    base = ranked.baseline
    head = ["method", "valid", "test", "seeds", f"less {base}", "p", f"less {ALONE}", "p", "time"]
    usual = spread(list(_alone(ranked).seconds.values()))[0] if _alone(ranked).seconds else 0.0
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for each in ranked.contenders:
        time = f"{spread(list(each.seconds.values()))[0] / usual:.2f}" if usual and each.seconds else "—"
        shown = [each.name, _mean(each.valid, unit), _mean(each.test, unit), str(len(each.test))]
        shown += [*_cells(ranked.against_baseline.get(each.name), unit)]
        shown += [*_cells(ranked.against_alone.get(each.name), unit), time]
        rows.append(shown)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _alone(ranked: Ranking) -> Contender:
    named = {each.name: each for each in ranked.contenders}
    return named.get(ALONE, named[ranked.baseline])


def _mean(values: Mapping[int, float], unit: Unit) -> str:
    mean, deviation = spread(list(values.values()))
    return unit.write(mean) if len(values) < 2 else f"{unit.write(mean)} ± {unit.write(deviation)}"


def _cells(difference: Difference | None, unit: Unit) -> tuple[str, str]:
    if difference is None:
        return "", ""
    scale = 100 if unit.style == "share" else 1
    mean, low, high = (f"{scale * value:+.2f}" for value in (difference.mean, difference.low, difference.high))
    text = f"{mean} [{low}, {high}]"
    return (f"**{text}**" if difference.settled else text), f"{difference.holm:.2g}"


def _verdict(ranked: Ranking, unit: Unit) -> str:
    sign = -1 if unit.better == "lower" else 1
    lines = ["## What is outside chance", ""]
    for other, found in ((ranked.baseline, ranked.against_baseline), (ALONE, ranked.against_alone)):
        for word, direction in (("better", 1), ("worse", -1)):
            names = [name for name, each in found.items() if each.settled and direction * sign * each.mean > 0]
            listed = ", ".join(f"`{name}`" for name in names) or "none"
            lines.append(f"- {word} than {other}: {listed}")
    return "\n".join(lines)


def _reading(ranked: Ranking) -> str:
    written = [f"- `{each.name}`: `{each.objective}`" for each in ranked.contenders]
    return "\n".join(
        [
            "## How to read it",
            "",
            "Methods stand in the order of their mean on validation rows over the seeds that all have; where some have "
            "more seeds, they led that order. Weights are selected on validation rows, and the test rows decide "
            "nothing. Differences are means over the seeds that both have, on test rows, with 95 % intervals of a "
            "paired t test; p is corrected after Holm over the column, and differences outside chance (p below 0.05) "
            "are bold. With three seeds a difference must be large beside its spread to be settled: what is not bold "
            "is not known. Time is that of training, in units of the student alone, on a machine that did other "
            "things as well.",
            "",
            "## Objectives",
            "",
            *written,
        ]
    )
