"""Planted bugs in artifacts and in what reads them: each a change to one file that a named test must notice."""

from mutations import Mutation

CONTAINER, PREDICTOR, EXPORT = "test_runtime_container.py", "test_runtime_predictor.py", "test_export.py"

MUTATIONS_OF_ARTIFACTS = [
    Mutation(
        "a seal nobody compares",
        "limbeck_runtime/container.py",
        (("hexdigest().encode() != said", "hexdigest().encode() == b''"),),
        CONTAINER,
        "flipped",
    ),
    Mutation(
        "names that leave the archive",
        "limbeck_runtime/container.py",
        (("if not _NAME.fullmatch(name) or name in found:", "if name in found:"),),
        CONTAINER,
        "leaves",
    ),
    Mutation(
        "the second of two files of a name",
        "limbeck_runtime/container.py",
        (("if not _NAME.fullmatch(name) or name in found:", "if not _NAME.fullmatch(name):"),),
        CONTAINER,
        "twice",
    ),
    Mutation(
        "compressed files are opened",
        "limbeck_runtime/container.py",
        (
            ("if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 0x1:", "if member.flag_bits & 0x1:"),
            ("if member.file_size != member.compress_size:", "if member.file_size < 0:"),
        ),
        CONTAINER,
        "bomb",
    ),
    Mutation(
        "an artifact of the future is read",
        "limbeck_runtime/manifest.py",
        (("not 1 <= schema <= SCHEMA:", "not 1 <= schema:"),),
        CONTAINER,
        "does_not_hold",
    ),
    Mutation(
        "files whose hash nobody compares",
        "limbeck_runtime/manifest.py",
        ((" or hashlib.sha256(files[name]).hexdigest() != file.sha256", ""),),
        CONTAINER,
        "hash_the_manifest",
    ),
    Mutation(
        "weights in a branch may lie elsewhere",
        "limbeck_runtime/onnx_bytes.py",
        (('6: "graph", 10: "tensor", 11: "graph"', '10: "tensor"'),),
        CONTAINER,
        "outside",
    ),
    Mutation(
        "golden rows are asked and not compared",
        "limbeck_runtime/predictor.py",
        (("if not off <= golden.tolerance:", "if off < 0:"),),
        CONTAINER,
        "other_weights",
    ),
    Mutation(
        "golden answers are not read",
        "limbeck_runtime/predictor.py",
        (("if not _alike(predictor.decode(known), golden.answers):", "if golden.answers is None:"),),
        CONTAINER,
        "does_not_hold",
    ),
    Mutation(
        "outputs are the buffer itself",
        "limbeck_runtime/predictor.py",
        (("return self._output.copy()", "return self._output"),),
        PREDICTOR,
        "stay_what_they_were",
    ),
    Mutation(
        "bytes wrap",
        "limbeck_runtime/predictor.py",
        (("if rows.min() < bounds.min or rows.max() > bounds.max:", "if rows.min() < -1000:"),),
        PREDICTOR,
        "wrap",
    ),
    Mutation(
        "NaN is an input",
        "limbeck_runtime/predictor.py",
        (('if rows.dtype.kind == "f" and not np.isfinite(rows).all():', 'if rows.dtype.kind == "O":'),),
        PREDICTOR,
        "refused",
    ),
    Mutation(
        "a batch that is not full answers too many rows",
        "limbeck_runtime/predictor.py",
        (("            : len(found)\n", "            : len(found) + size\n"),),
        PREDICTOR,
        "some_rows_at_a_time",
    ),
    Mutation(
        "the likeliest class is the first",
        "limbeck_runtime/decoding.py",
        (('{"class": names[places[0]]', '{"class": names[0]'),),
        PREDICTOR,
        "as_the_task_does",
    ),
    Mutation(
        "quantiles by quantile, then by step",
        "limbeck_runtime/decoding.py",
        (
            (
                "reshape(len(outputs), len(self.names), len(levels))",
                "reshape(len(outputs), len(levels), len(self.names)).swapaxes(1, 2)",
            ),
        ),
        PREDICTOR,
        "as_the_task_does",
    ),
    Mutation(
        "the event is the first output",
        "limbeck_runtime/decoding.py",
        (("sigmoid(outputs[row, width:])[0]", "sigmoid(outputs[row])[0]"),),
        PREDICTOR,
        "as_the_task_does",
    ),
]
