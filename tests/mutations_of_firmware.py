"""Planted bugs in students as C and in the alerts of a microcontroller; `test_mutations.py` plants each."""

from mutations import Mutation

ARENA, ALERTS, EMITTED = "test_firmware_arena.py", "test_firmware_alerts.py", "test_firmware.py"

MUTATIONS_OF_FIRMWARE = [
    Mutation(
        "a place is given away at the step that still reads it",
        "firmware/arena.py",
        (("other.first <= last and first <= other.last and", "other.first < last and first < other.last and"),),
        ARENA,
        "array_for_each_node",
    ),
    Mutation(
        "what has another shape is forgotten with what it was made of",
        "firmware/arena.py",
        (("arguments=tuple(_root(name, aliases) for name in call.arguments)", "arguments=call.arguments"),),
        ARENA,
        "array_for_each_node",
    ),
    Mutation(
        "whole numbers among floats",
        "firmware/arena.py",
        (('return "float" if kind in _WITH_FLOATS else kind', 'return "float"'),),
        ARENA,
        "may_not_share",
    ),
    Mutation(
        "weights are unpacked before anything else",
        "firmware/arena.py",
        (("if waiting.get(call.arguments[-1]) is call:", "if not call.arguments:"),),
        ARENA,
        "where_they_are_read",
    ),
    Mutation(
        "an alert of exactly a day ago counts",
        "firmware/templates/alerts.c",
        (("alerts->times[place] > now - LIMBECK_DAY", "alerts->times[place] >= now - LIMBECK_DAY"),),
        ALERTS,
        "day_ago",
    ),
    Mutation(
        "silence of exactly the limit ends the data",
        "firmware/templates/alerts.c",
        (("now - alerts->last <= rule->stale", "now - alerts->last < rule->stale"),),
        ALERTS,
        "runtime_says",
    ),
    Mutation(
        "votes of long ago count",
        "firmware/templates/alerts.c",
        (("if (rule->of < 32) {", "if (rule->of < 0) {"),),
        ALERTS,
        "long_random",
    ),
    Mutation(
        "data that ends leaves its votes",
        "firmware/templates/alerts.c",
        (
            (
                "limbeck_alerts *alerts, int64_t now) {\n    alerts->votes = 0;\n    alerts->told",
                "limbeck_alerts *alerts, int64_t now) {\n    alerts->told",
            ),
        ),
        ALERTS,
        "long_random",
    ),
    Mutation(
        "scores are held against another number than the threshold in float32",
        "firmware/templates/alerts.c",
        (("return rule->rising ? score >= limit", "return rule->rising ? (double)score >= (double)limit + 1e-9"),),
        ALERTS,
        "runtime_says",
    ),
    Mutation(
        "no answer is the same answer",
        "firmware/templates/selftest.c.j2",
        (("same = same && difference <= GOLDEN_TOLERANCE", "same = same && !(difference > GOLDEN_TOLERANCE)"),),
        EMITTED,
        "notices_another",
    ),
    Mutation(
        "what alarms is not held against what does not",
        "firmware/rule.py",
        (('if watch.kind != "classes" or', 'if watch.kind == "classes" or'),),
        EMITTED,
        "watched_is_the_same",
    ),
    Mutation(
        "a direction that is the default one is said",
        "firmware/graph.py",
        (("node.attribute.remove(said)", "assert said"),),
        EMITTED,
        "say_their_default",
    ),
    Mutation(
        "rows are flattened in another order",
        "firmware/translation.py",
        (('row = f"({given} (*){inner})row" if inner', 'row = f"({given} (*){inner})(row + 1)" if inner'),),
        EMITTED,
        "go_in_as_bytes",
    ),
]
