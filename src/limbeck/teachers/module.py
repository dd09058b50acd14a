"""A live network as a teacher: frozen in place, and watched so that nobody moves it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import ModelError, TeacherError, did_you_mean
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.signals import Batch, Signals
from limbeck.taps import listen


class ModuleTeacher:
    """Any network as a teacher.

    The model is frozen IN PLACE: `prepare` switches it (and the network inside, which code elsewhere may share) to eval
    mode, turns `requires_grad` off on all its parameters and drops their gradients, and none of it is undone. Give a
    `copy.deepcopy` of a network that must go on training elsewhere. From then on every call checks that nobody
    changed it.

    Args:
        model: The network with its input transform and classes.
        name: What reports call this teacher.
    """

    def __init__(self, model: Model, name: str) -> None:
        self.model = model
        self.name = name
        self.views: int | None = None
        self.fingerprint = model.fingerprint()
        self._layers: tuple[str, ...] = ()
        self._seal: Seal | None = None

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Freezes the model, maps its outputs to the data's classes, and finds the layers that will be listened to.

        May be called again, for other needs. The fingerprint is taken anew.

        Raises:
            TeacherError: When a layer does not exist, or a class of the data is unknown to the model.
        """
        layers = [name for name, _ in self.model.network.named_modules(remove_duplicate=False) if name]
        for layer in sorted(needs.teacher_layers):
            module = layer.partition("[")[0]
            if module not in layers:
                raise TeacherError(
                    f"the teacher {self.name} has no layer {module!r}",
                    expected="a name from network.named_modules()",
                    remedy=did_you_mean(module, layers),
                )
        try:
            self.model.align(classes)
        except ModelError as error:
            raise TeacherError(
                f"the teacher {self.name} cannot serve this data: {error.happened}",
                expected=error.expected,
                remedy=error.remedy,
            ) from error
        self._layers = tuple(sorted(needs.teacher_layers))
        self.model.eval().requires_grad_(False).zero_grad(set_to_none=True)
        self.fingerprint = self.model.fingerprint()
        self._seal = Seal.of(self.model)

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """A network answers any rows in any view."""

    def signals(self, batch: Batch) -> Signals:
        """Logits in the data's class order and the features asked for, without gradient.

        Precision is the caller's: call it under `torch.autocast` for another.

        Raises:
            TeacherError: When `prepare` was not called, or somebody moved the model or switched it to train mode since.
        """
        if self._seal is None:
            raise TeacherError(
                f"the teacher {self.name} was asked before it was prepared", remedy="call prepare(needs, classes) first"
            )
        self._refuse_moved(self._seal)
        with torch.no_grad():
            return listen(self.model, batch.inputs, self._layers)

    def to(self, device: torch.device) -> "ModuleTeacher":
        """Moves the model, in place, to a device, and returns itself.

        Raises:
            TeacherError: As `signals`.
        """
        if self._seal is not None:
            self._refuse_moved(self._seal)
        self.model.to(device)
        if self._seal is not None:
            self._seal = Seal.of(self.model)
        return self

    def _refuse_moved(self, seal: "Seal") -> None:
        broken = seal.broken()
        if broken is not None:
            raise TeacherError(
                f"the teacher {self.name} moved: {broken}",
                expected="a teacher that stays frozen and in eval mode from prepare() on",
                remedy="give the teacher a copy of its own: copy.deepcopy(network)",
            )


@dataclass(frozen=True)
class Seal:
    """What a frozen module looked like, cheap enough to compare at every step.

    It notices train mode, `requires_grad`, submodules and tensors that were replaced or removed, and every in-place
    change that autograd counts. Fused optimisers' changes it does not count; no optimiser moves a tensor without a
    gradient, so the seal notices a gradient too. It cannot notice writes through `tensor.data`; a fingerprint does.
    """

    modules: tuple[tuple[str, nn.Module, tuple[nn.Module | None, ...]], ...]
    tensors: tuple[tuple[str, dict[str, Tensor | None], str, Tensor, int, int], ...]

    @classmethod
    def of(cls, module: nn.Module) -> "Seal":
        """Seals a module as it is now."""
        modules, tensors = [], []
        for name, part in module.named_modules():
            modules.append((name or "the model", part, tuple(part._modules.values())))
            # The dictionaries themselves, since a lookup in them is what makes the check cheap.
            for owner in (part._parameters, part._buffers):
                for key, tensor in owner.items():
                    if tensor is not None:
                        path = f"{name}.{key}" if name else key
                        tensors.append((path, owner, key, tensor, _version(tensor), tensor.data_ptr()))
        return cls(tuple(modules), tuple(tensors))

    def broken(self) -> str | None:
        """What changed since, None when nothing did."""
        for name, part, children in self.modules:
            if part.training:
                return f"{name} is in train mode"
            if tuple(part._modules.values()) != children:
                return f"the submodules of {name} were replaced"
        for path, owner, key, tensor, version, address in self.tensors:
            if owner.get(key) is not tensor or tensor.data_ptr() != address:
                return f"{path} was replaced"
            if _version(tensor) != version:
                return f"{path} was changed in place"
            if tensor.requires_grad:
                return f"{path} asks for gradients"
            if tensor.grad is not None:
                return f"{path} holds a gradient, by which an optimiser may have moved it"
        return None


def _version(tensor: Tensor) -> int:
    # Tensors made in inference mode keep no count; outside of it nobody can change them.
    return -1 if tensor.is_inference() else tensor._version
