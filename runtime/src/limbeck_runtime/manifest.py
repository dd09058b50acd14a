"""What an artifact says of itself: what goes in, what comes out, how it was made, and what was measured of it."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from limbeck_runtime.container import MANIFEST
from limbeck_runtime.errors import ArtifactError
from limbeck_runtime.fields import built

FORMAT = "limbeck"
SCHEMA = 1
DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "float64")
_DEEPEST_BYTES = 2**24


@dataclass(frozen=True)
class File:
    """A file in the artifact."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Graph:
    """The network.

    Args:
        file: Its name in the artifact; ONNX.
        input: The name of its only input.
        output: The name of its only output.
        precision: `float32` or `int8`.
        recipe: How it came to that precision, in words.
        batch: How many rows it takes at a time; None: any number.
    """

    file: str
    input: str
    output: str
    precision: str
    recipe: str
    batch: int | None = None


@dataclass(frozen=True)
class Array:
    """Numbers in a file: little-endian, row-major."""

    file: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Golden:
    """Rows that belong to nobody, and what the graph said about them when it was exported.

    Args:
        inputs: Raw rows.
        outputs: What the graph said.
        answers: What those outputs mean, so that names in another order are noticed too.
        tolerance: The largest difference, in the outputs' unit, that is the same answer on another machine.
    """

    inputs: Array
    outputs: Array
    answers: tuple[Mapping[str, Any], ...]
    tolerance: float


@dataclass(frozen=True)
class Input:
    """One raw row, as the data held it.

    Args:
        dtype: Of its numbers.
        shape: Without the dimension of rows.
        kind: `image` (channels, height, width), `series` (channels, steps), or `row`.
        names: Of its channels, where they have any.
        units: Of the channels, where they are known.
        low: The least number in the validation rows.
        high: The greatest.
    """

    dtype: str
    shape: tuple[int, ...]
    kind: str
    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Output:
    """What is said of a row.

    Args:
        shape: Without the dimension of rows.
        reading: How it is read: a `kind` that `limbeck_runtime.decoding` knows, and its facts.
        unit: Of its numbers, where that is known.
    """

    shape: tuple[int, ...]
    reading: Mapping[str, Any]
    unit: str = ""


@dataclass(frozen=True)
class Manifest:
    """Everything an artifact says of itself.

    Args:
        format: Always `limbeck`.
        schema: Of this manifest; a runtime reads its own and older ones.
        name: Of the student.
        task: As the recipe writes it.
        graph: The network.
        input: What goes in.
        output: What comes out.
        golden: Rows with known answers.
        files: Every other file in the artifact, by name.
        stream: How readings become rows, for `limbeck_runtime.stream`; None where rows are no windows of a series.
        alerts: When an answer becomes an alert, for `limbeck_runtime.alerts`; None until `limbeck tune` has written it.
        escalation: When an answer is to be left to a larger model, for `limbeck_runtime.cascade`; None until tuned.
        calibration: The rows that int8 was calibrated on, and their hash; empty for float32.
        provenance: Recipe, teacher, data, licences, versions.
        verification: What was measured of this file when it was exported.
    """

    format: str
    schema: int
    name: str
    task: str
    graph: Graph
    input: Input
    output: Output
    golden: Golden
    files: Mapping[str, Any]
    stream: Mapping[str, Any] | None = None
    alerts: Mapping[str, Any] | None = None
    escalation: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] = field(default_factory=dict)


def read(files: Mapping[str, bytes]) -> Manifest:
    """The manifest of an artifact, held against the other files in it.

    Raises:
        ArtifactError: When it is no manifest, is newer than this runtime, or a file is missing, unknown or another.
    """
    text = files[MANIFEST]
    if len(text) > _DEEPEST_BYTES:
        raise ArtifactError(f"the manifest has {len(text)} bytes", expected=f"at most {_DEEPEST_BYTES}")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"the manifest is damaged: {error}", remedy="export the run again") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ArtifactError("the manifest is not Limbeck's", expected=f'"format": "{FORMAT}"')
    schema = raw.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or not 1 <= schema <= SCHEMA:
        raise ArtifactError(
            f"the artifact has schema {schema}",
            expected=f"schema {SCHEMA} or older",
            remedy="pip install --upgrade limbeck-runtime, or export the run with this version",
        )
    found = built(Manifest, raw, "the manifest")
    _check_files(found, files)
    _check_shapes(found)
    return found


def _check_files(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    said = {name: built(File, each, f"files.{name}") for name, each in manifest.files.items()}
    there = {name for name in files if name != MANIFEST}
    if there != said.keys():
        odd = sorted(there ^ said.keys())[0]
        raise ArtifactError(f"{odd} is {'not in the manifest' if odd in there else 'missing'}", remedy="export again")
    for name, file in said.items():
        if len(files[name]) != file.bytes or hashlib.sha256(files[name]).hexdigest() != file.sha256:
            raise ArtifactError(f"{name} is damaged: it is not what the manifest says", remedy="export again")
    for name in (manifest.graph.file, manifest.golden.inputs.file, manifest.golden.outputs.file):
        if name not in there:
            raise ArtifactError(f"{name} is missing", remedy="export the run again")


def _check_shapes(manifest: Manifest) -> None:
    inputs, outputs = manifest.golden.inputs, manifest.golden.outputs
    kinds = (manifest.input.dtype, inputs.dtype, outputs.dtype)
    if any(kind not in DTYPES for kind in kinds):
        raise ArtifactError(f"numbers of type {', '.join(kinds)}", expected=f"some of {', '.join(DTYPES)}")
    fits = inputs.dtype == manifest.input.dtype and inputs.shape[1:] == manifest.input.shape
    if not fits or outputs.shape != (inputs.shape[0], *manifest.output.shape):
        raise ArtifactError("the golden rows have another shape than the artifact's rows", remedy="export again")
    for shape in (inputs.shape, outputs.shape):
        if any(size < 1 for size in shape) or math.prod(shape) > 2**31:
            raise ArtifactError(f"a shape of {shape}", expected="sizes from 1 on")
    if manifest.graph.batch is not None and manifest.graph.batch < 1:
        raise ArtifactError(f"the graph takes {manifest.graph.batch} rows at a time", expected="1 or more")
