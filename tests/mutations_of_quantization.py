"""Planted bugs in int8 graphs, their search and export: each a change to one file that a named test must notice."""

from mutations import Mutation

GRAPHS, CHOICE = "test_quantization.py", "test_choice.py"
INT8, EXPORT = "test_export_int8.py", "test_export.py"

MUTATIONS_OF_QUANTIZATION = [
    Mutation(
        "weights are cut, not rounded",
        "quantization/weights.py",
        (("np.rint(array / scale)", "np.trunc(array / scale)"),),
        GRAPHS,
        "half_a_step",
    ),
    Mutation(
        "a scale for each input of a matrix",
        "quantization/weights.py",
        (('"MatMul": {1: -1}', '"MatMul": {1: 0}'),),
        GRAPHS,
        "each_output",
    ),
    Mutation(
        "the largest is not what minmax says",
        "quantization/calibration.py",
        (('"minmax": CalibrationMethod.MinMax', '"minmax": CalibrationMethod.Percentile'),),
        GRAPHS,
        "ranges_are",
    ),
    Mutation(
        "calibration leaves a batch out that is not full",
        "quantization/graphs.py",
        (
            (
                "np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])",
                "rows[: len(rows) // size * size]",
            ),
        ),
        GRAPHS,
        "four_rows",
    ),
    Mutation(
        "rows of any shape calibrate",
        "quantization/calibration.py",
        (("or rows.shape[1:] != shape or", "or"),),
        GRAPHS,
        "none_of_the_graphs",
    ),
    Mutation(
        "a dynamic graph takes rows together",
        "quantization/dynamic.py",
        (("one_at_a_time(model), path", "model, path"),),
        GRAPHS,
        "one_row_at_a_time",
    ),
    Mutation(
        "nodes to be left are not",
        "quantization/static.py",
        (("list(leaving)", "[]"),),
        GRAPHS,
        "hurts_comes_first",
    ),
    Mutation(
        "the node that hurts least comes first",
        "quantization/mixed.py",
        (("(-each[1], each[0])", "(each[1], each[0])"),),
        GRAPHS,
        "hurts_comes_first",
    ),
    Mutation(
        "products only, and everything else",
        "quantization/static.py",
        (("list(PRODUCTS if products_only else quantisable())", "list(quantisable())"),),
        GRAPHS,
        "products_only",
    ),
    Mutation(
        "what the metric loses is let through",
        "artifact/choice.py",
        (("if self.lost > allowed.metric:", "if self.lost > 1:"),),
        CHOICE,
        "each_gate",
    ),
    Mutation(
        "agreement is not asked for",
        "artifact/choice.py",
        (("agreement < allowed.agreement:", "agreement < 0:"),),
        CHOICE,
        "each_gate",
    ),
    Mutation(
        "numbers may be anywhere",
        "artifact/choice.py",
        (("if share > allowed.distance:", "if share > 1:"),),
        CHOICE,
        "each_gate",
    ),
    Mutation(
        "auto does not look at the clock",
        "artifact/choice.py",
        (("if self.slower > allowed.latency", "if self.slower > 1e9"),),
        CHOICE,
        "each_gate",
    ),
    Mutation(
        "auto takes the fastest",
        "artifact/choice.py",
        (
            (
                "found = min(fast, key=lambda each: (each.bytes, each.latency_ms",
                "found = min(fast, key=lambda each: (each.latency_ms, each.bytes",
            ),
        ),
        CHOICE,
        "takes_the_smallest",
    ),
    Mutation(
        "an equal in one thing is outdone by none",
        "artifact/choice.py",
        (("all(a <= b for", "all(a < b for"),),
        CHOICE,
        "pareto",
    ),
    Mutation(
        "more of an error is better",
        "artifact/choice.py",
        (("(-each.metric if higher_is_better else each.metric,", "(-each.metric,"),),
        CHOICE,
        "pareto",
    ),
    Mutation(
        "int8 is calibrated on validation rows",
        "artifact/search.py",
        (("rows = some(self.data.train,", "rows = some(self.data.valid,"),),
        INT8,
        "calibration_rows",
    ),
    Mutation(
        "int8 is judged by test rows",
        "artifact/search.py",
        (
            (
                "torch.from_numpy(outputs(predictor, self.data.valid))",
                "torch.from_numpy(outputs(predictor, self.data.test))",
            ),
            ("rows = self.data.valid\n", "rows = self.data.test\n"),
        ),
        INT8,
        "choose_nothing",
    ),
    Mutation(
        "int8 is compared with itself",
        "artifact/search.py",
        (("like = self.task.likeness(said, float32.said)", "like = self.task.likeness(said, said)"),),
        INT8,
        "blind",
    ),
    Mutation(
        "a graph that answers otherwise is shipped",
        "shipment.py",
        (('if self.precision == "float32" and not said.difference <= bound:', "if False:"),),
        EXPORT,
        "named_and_nothing and unlike",
    ),
    Mutation(
        "nobody knows where tracing stopped",
        "artifact/graph.py",
        (("running.append(path)))", "running.append('')))"),),
        EXPORT,
        "named_and_nothing and branching",
    ),
]
