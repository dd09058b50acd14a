"""Text -> model: students by name, `timm:`, `torchvision:`, `package.module:function`, and finished runs.

What can only teach is read in `teachers`; here it is known by its first word, so that it can be refused as a student.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from limbeck import checkpoint
from limbeck import students as families
from limbeck.catalog.languages import LANGUAGES, is_language, language
from limbeck.catalog.outputs import learnt, output_names
from limbeck.catalog.tasks import task
from limbeck.data.standardise import Standardise
from limbeck.errors import ModelError, RunError, did_you_mean
from limbeck.grammar import Call, parse_call
from limbeck.languages.loading import saved_network
from limbeck.languages.network import LanguageNetwork
from limbeck.model import Loan, Model
from limbeck.records import read_record
from limbeck.transforms import AsFloat, ImageScale

TEACHERS = (
    ("onnx:PATH", "teacher", 'an ONNX file, run on the CPU (extra: onnx); onnx:PATH(outputs="probabilities")'),
    ("sklearn:PATH", "teacher", "a fitted estimator that skops.io.dump wrote (extra: sklearn); sklearn:PATH(folds=5)"),
    (
        "lightgbm:PATH",
        "teacher",
        "what LightGBM's booster_.save_model wrote (extra: boosting); lightgbm:PATH(classes=...)",
    ),
    ("xgboost:PATH", "teacher", 'what XGBoost\'s save_model("NAME.json") wrote (extra: boosting)'),
    (
        "retokenised",
        "teacher",
        "a language model with another tokenizer, which reads the same text: retokenised('hf:PATH', tokens='hf:READS')",
    ),
    ("openai:URL#MODEL", "teacher", 'a server of OpenAI\'s protocol (extra: server); openai:URL#MODEL(key="NAME")'),
    ("call:package.module:function", "teacher", 'a function that answers rows with logits; call:...(outputs="values")'),
    ("package.module:function", "teacher", "a function that returns any of these: an estimator, a Teacher, a list"),
)
"""What can teach and cannot learn: (name, kind, one line)."""


@dataclass(frozen=True)
class Shape:
    """What a model must fit: the shape of one raw row, the outputs' names and number, and the rows' statistics.

    `restore` is the task's: from what a network says to the labels' unit, for every model that is built to be trained.
    """

    row: tuple[int, ...]
    outputs: int
    classes: tuple[str, ...]
    mean: Float[Tensor, "..."]
    deviation: Float[Tensor, "..."]
    restore: Callable[[], nn.Module | None] = lambda: None

    def trainable(self, network: nn.Module, source: str) -> Model:
        """A new network on standardised inputs, which answers in the labels' unit; tokens stay what they are."""
        if isinstance(network, LanguageNetwork):
            return Model(network, source=source)
        return Model(network, Standardise(self.mean, self.deviation), source=source, restore=self.restore())


def students() -> list[str]:
    """The names of the built-in students: the files of `students/`."""
    return families.names()


def models() -> list[tuple[str, str, str]]:
    """What a model may be called: (name, kind, one line)."""
    own = []
    for name in students():
        module = importlib.import_module(f"limbeck.students.{name}")
        own.append((name, "student", str(module.__doc__).strip().splitlines()[0]))
    return [
        *own,
        (
            "timm:NAME",
            "library",
            "any timm model, for the data's channels and classes (extra: vision); timm:NAME(classes=...)",
        ),
        ("torchvision:NAME", "library", "any torchvision classifier, fitted to the classes (extra: vision)"),
        ("package.module:function", "your own", "a function that returns an nn.Module; arguments as in a call"),
        *LANGUAGES,
        ("PATH", "run", "the student of a finished run folder"),
        *TEACHERS,
    ]


def model(
    what: str | nn.Module, shape: Shape, *, seed: int | None = None, fresh: bool = True, teaches: bool = False
) -> Model:
    """Builds a model for some data.

    Args:
        what: Text as in `models()`; a `Model`; or a bare module, which is fed the inputs as the data holds them, as
            float32 (wrap it in `Model(network, transform)` when it expects anything else).
        shape: What it must fit.
        seed: Of a run with several seeds, the student of this one; by default the best on validation data.
        fresh: Whether it is to be trained, so that what it borrows of a run is copied now; else its weights come later.
        teaches: Whether it answers as it is: a library's trained network then keeps its own outputs.

    Raises:
        ModelError: When there is no such model, its arguments are wrong, or it cannot be built.
    """
    if isinstance(what, Model):
        return what
    if isinstance(what, nn.Module):
        return Model(what, None if isinstance(what, LanguageNetwork) else AsFloat())
    if is_run(what) or is_language(what):
        return of_run(Path(what), seed=seed) if is_run(what) else language(what)
    place = what.partition("(")[0]  # what stands before the arguments, which may hold paths and texts of their own
    kind, _, rest = what.partition(":") if ":" in place else (what, "", "")
    if kind == "timm":
        return _timm(parse_call(rest, "model"), shape, what, teaches)
    if kind == "torchvision":
        return _torchvision(parse_call(rest, "model"), shape, what)
    if place.partition(":")[0] in {name.partition(":")[0] for name, _, _ in TEACHERS if not name.startswith("package")}:
        raise ModelError(
            f"{what} can teach, and cannot learn", expected="a network to be trained", remedy="name it as the teacher"
        )
    if rest:
        return wrapped(made(what), shape, what)
    if "/" in place or place.startswith("."):
        raise ModelError(f"{what} is no run folder", expected="a folder with run.json", remedy=_runs_near(Path(what)))
    built = _student(parse_call(what, "model"), shape, what)
    if fresh and isinstance(loan := getattr(built.network, "loan", None), Loan):
        _borrow(loan, built, shape)
    return built


def _borrow(loan: Loan, borrower: Model, shape: Shape) -> None:
    """Copies what a network has of a run's student.

    Raises:
        ModelError: When the run is not one of such a student, with these classes, this scale of outputs and one seed.
    """
    folder = Path(loan.folder)
    if not is_run(loan.folder):
        raise ModelError(f"{folder} is no run folder", expected="the teacher's run", remedy=_runs_near(folder))
    record, path = read_record(folder), folder / "student.safetensors"
    theirs = checkpoint.load(path)[0]
    ours = {} if borrower.restore is None else borrower.restore.state_dict()
    source = str(record.recipe.get("student"))
    for what, found, wanted in (
        ("status", record.status, "finished"),
        ("student", parse_call(source, "model"), parse_call(loan.source, "model")),
        ("number of seeds", len(record.results), 1),
        ("classes", record.classes, shape.classes),
        ("scale", _listed(checkpoint.under("restore", theirs)), _listed(ours)),
    ):
        if found != wanted:
            raise ModelError(
                f"{folder} cannot lend its {loan.part}: its {what} is {source if what == 'student' else found}",
                expected=loan.source if what == "student" else str(wanted),
                remedy=f"of={source!r}" if what == "student" else "another teacher, of the same classes and labels",
            )
    part, lent = borrower.network.get_submodule(loan.part), checkpoint.under("network", theirs)
    names = {name for name, _ in part.named_children()}
    tensors = {name: tensor for name, tensor in lent.items() if name.partition(".")[0] in names}
    checkpoint.load_weights(part, tensors, str(path))


def _listed(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in tensors.items()}


def is_run(what: str) -> bool:
    """Whether a text names a run folder."""
    return ":" not in what and "(" not in what and (Path(what) / "run.json").is_file()


def seeds_of(what: str) -> list[int]:
    """The seeds of a run folder with several; none for anything else."""
    if not is_run(what):
        return []
    results = read_record(Path(what)).results
    return [result.seed for result in results] if len(results) > 1 else []


def of_run(folder: Path, *, who: str = "student", seed: int | None = None) -> Model:
    """The student (or control) of a finished run, built from its resolved recipe and its weights.

    Args:
        folder: A run folder.
        who: `student` or `control`.
        seed: Of several seeds, this one; by default the one that did best on validation data.

    Raises:
        RunError: When the run did not finish, or its student was an object that only the caller can build.
    """
    record = read_record(folder)
    if record.status != "finished":
        raise RunError(
            f"the run {folder} did not finish (status: {record.status})",
            expected="a finished run",
            remedy=f"limbeck distill {folder / 'recipe.yaml'} --resume",
        )
    source = str(record.recipe.get("student") or "")
    if not source or source.startswith("<"):
        raise RunError(
            f"the student of {folder} was given as an object, not as text: {source or 'unknown'}",
            expected="a student that can be built again, such as package.module:function",
            remedy="build the module yourself and call Run.open(folder).student(module)",
        )
    with torch.random.fork_rng():  # its first weights are drawn and thrown away; that is nobody's business
        if (said := saved_network(folder)) is not None:  # what it was made of may be gone
            built = Model(said, source=source)
        else:
            built = model(source, saved_shape(folder, record.data, record.classes), fresh=False)
    return with_weights(built, folder, who=who, seed=seed)


def with_weights(built: Model, folder: Path, *, who: str = "student", seed: int | None = None) -> Model:
    """Loads a run's weights into a model built alike, in eval mode."""
    place = folder if seed is None or not (folder / f"seed-{seed}").is_dir() else folder / f"seed-{seed}"
    path = place / f"{who}.safetensors"
    tensors, _ = checkpoint.load(path)
    checkpoint.load_weights(built, tensors, str(path))
    built.classes = read_record(folder).classes
    return built.eval()


def saved_shape(folder: Path, data: Any, classes: tuple[str, ...]) -> Shape:
    """The shape a run's student was built for; the statistics come with the weights."""
    tensors, _ = checkpoint.load(folder / "student.safetensors")
    nothing = torch.zeros(0)
    mean, deviation = (tensors.get(f"transform.{name}", nothing) for name in ("mean", "std"))
    restore = task(read_record(folder).task).restore
    return Shape(tuple(data["row"]), int(data["outputs"]), classes, mean, deviation, restore)


def _runs_near(path: Path) -> str:
    return did_you_mean(path.name, [p.parent.name for p in path.parent.glob("*/run.json")])


def _student(call: Call, shape: Shape, source: str) -> Model:
    if call.name not in students():
        known = [
            *students(),
            "smollm2",
            "shrink",
            "trim",
            "lora",
            "hf:PATH",
            "timm:NAME",
            "torchvision:NAME",
            "package.module:function",
            "a run folder",
        ]
        raise ModelError(f"there is no model {call.name!r}", remedy=did_you_mean(call.name, known))
    build = importlib.import_module(f"limbeck.students.{call.name}").build
    network = _called(build, call, shape.row, shape.outputs)
    return shape.trainable(network, source)


def _called(function: Any, call: Call, *fixed: Any) -> nn.Module:
    return _network(call_with(function, call, *fixed), call.name)


def _network(made: Any, name: str) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise ModelError(f"{name} returned a {type(made).__name__}", expected="an nn.Module")
    return made


def call_with(function: Any, call: Call, *fixed: Any) -> Any:
    """Calls a function with what a call in the grammar says.

    Args:
        function: Any.
        call: Its arguments; its name is for messages.
        *fixed: Arguments before those of the call, which the call may not name again.

    Raises:
        ModelError: When it has no such argument, or does not take its value.
    """
    known = [name for name in inspect.signature(function).parameters][len(fixed) :]
    for name in call.keywords:
        takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
        if name not in known and not takes_any:
            raise ModelError(f"{call.name} has no argument {name!r}", remedy=did_you_mean(name, known))
    try:
        return function(*fixed, *call.arguments, **call.keywords)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{call.name} cannot be built: {error}", expected=f"arguments {', '.join(known)}") from error


def made(what: str) -> Any:
    """What the function of a text `package.module:function(argument=value)` returns.

    Raises:
        ModelError: When there is no such function, or it does not take the arguments.
    """
    module_name, _, rest = what.partition(":")
    call = parse_call(rest, "model")
    return call_with(imported(module_name, call.name, what), call)


def imported(module_name: str, name: str, source: str) -> Any:
    """What a module holds under a name.

    Args:
        module_name: Such as `package.module`.
        name: A name in it.
        source: The text it was read from, for the message.

    Raises:
        ModelError: When there is no such module, or it has no such name.
    """
    try:
        return getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the module {module_name!r} of {source!r} cannot be imported: {error}",
            expected="package.module:function",
            remedy="run from the folder that holds it, or set PYTHONPATH",
        ) from error
    except AttributeError as error:
        names = [name for name in dir(importlib.import_module(module_name)) if not name.startswith("_")]
        raise ModelError(f"{module_name} has no {name!r}", remedy=did_you_mean(name, names)) from error


def wrapped(built: Any, shape: Shape, source: str) -> Model:
    """A network that a function built, as a model; one that expects anything but standardised rows comes as a `Model`.

    Raises:
        ModelError: When it is no network.
    """
    network = _network(built, source)
    if isinstance(network, Model):
        network.source = source
        return network
    return shape.trainable(network, source)


def _timm(call: Call, shape: Shape, source: str, teaches: bool) -> Model:
    timm = _extra("timm")
    if not timm.is_model(call.name):
        raise ModelError(f"timm has no model {call.name!r}", remedy=did_you_mean(call.name, timm.list_models()))
    given = dict(call.keywords)
    said = given.pop("classes", None)
    names = () if said is None else output_names(said, shape.classes, source)
    trained = bool(given.get("pretrained") or given.get("checkpoint_path"))
    # What was trained and shall teach keeps its own answers; what shall learn gets new ones for these classes.
    head = {} if trained and teaches and not names else {"num_classes": len(names) or shape.outputs}
    channels = 3 if trained else shape.row[0]
    arguments = {"model_name": call.name, "in_chans": channels, **head, **given}
    try:
        network: Any = _called(timm.create_model, Call(f"timm:{call.name}", (), arguments))
    except (RuntimeError, OSError) as error:  # weights that are not there, or of other outputs
        raise ModelError(
            f"{source} cannot be built: {' '.join(str(error).split())[:400]}",
            expected="weights of this very network, with as many outputs",
            remedy="a network trained for other classes: say them, classes=('cat', 'dog', ...) in its own order",
        ) from error
    if not head and "num_classes" not in given:
        names = output_names(learnt(network, source), shape.classes, source)
    if not trained:
        built = shape.trainable(network, source)
    else:
        config = network.pretrained_cfg
        scale = ImageScale(config["mean"], config["std"], size=config["input_size"][-1])
        built = Model(network, scale, source=source)
    built.classes = names
    return built


def _torchvision(call: Call, shape: Shape, source: str) -> Model:
    catalogue = _extra("torchvision").models
    if call.name not in catalogue.list_models():
        near = did_you_mean(call.name, catalogue.list_models())
        raise ModelError(f"torchvision has no model {call.name!r}", remedy=near)
    keywords = {"num_classes": shape.outputs, **call.keywords}
    if keywords.get("weights"):
        weights = catalogue.get_model_weights(call.name)[keywords.pop("weights")]
        preset = weights.transforms()
        keywords.pop("num_classes")
        network = catalogue.get_model(call.name, weights=weights, **keywords)
        transform: nn.Module = ImageScale(preset.mean, preset.std, size=preset.crop_size[0])
        return Model(network, transform, classes=weights.meta["categories"], source=source)
    network = _called(catalogue.get_model, Call("torchvision.get_model", (call.name,), keywords))
    return Model(network, ImageScale((0.5,) * 3, (0.5,) * 3, size=shape.row[-1]), source=source)


def _extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModelError(f"{name} is not installed", remedy="pip install 'limbeck[vision]'") from error
