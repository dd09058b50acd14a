"""A live network as a teacher: frozen in place, and watched so that nobody moves it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import ModelError, TeacherError, did_you_mean
from limbeck.model import Model, Renumbering
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

    computes = True

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
                remedy=self._other_names(error.remedy),
            ) from error
        self._layers = tuple(sorted(needs.teacher_layers))
        self.model.eval().requires_grad_(False).zero_grad(set_to_none=True)
        self._lay_out()
        self.fingerprint = self.model.fingerprint()
        self._seal = Seal(self.model)

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

    def compiled(self, how: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[Batch], Signals]:
        """What asks the network as `signals` does, through a function that `how` has compiled; raises the same."""
        fast = how(_said)

        def signals(batch: Batch) -> Signals:
            if self._layers or self._seal is None:
                return self.signals(batch)
            self._refuse_moved(self._seal)
            with torch.no_grad():
                answer: Signals = fast(self.model, batch.inputs)
            return answer

        return signals

    def linear(self, layer: str) -> tuple[Float[Tensor, "classes width"], Float[Tensor, " classes"] | None]:
        """The weight and the bias of a linear layer, in the data's class order.

        Raises:
            TeacherError: When the network has no linear layer of this name.
        """
        modules = dict(self.model.network.named_modules(remove_duplicate=False))
        found = modules.get(layer)
        if not isinstance(found, nn.Linear):
            linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
            raise TeacherError(
                f"the teacher {self.name} has no linear layer {layer!r}",
                expected="the layer that gives the logits",
                remedy=did_you_mean(layer, linear),
            )
        order: Tensor | slice = slice(None) if self.model.class_index is None else self.model.class_index
        return found.weight.detach()[order], None if found.bias is None else found.bias.detach()[order]

    def to(self, device: torch.device) -> "ModuleTeacher":
        """Moves the model, in place, to a device, and returns itself.

        Raises:
            TeacherError: As `signals`.
        """
        if self._seal is not None:
            self._refuse_moved(self._seal)
        self.model.to(device)
        if self._seal is not None:
            self._seal = Seal(self.model)
        return self

    def _other_names(self, remedy: str) -> str:
        """What may be done where the data's classes are not the model's; tokens are not told apart by name alone."""
        if isinstance(self.model.network, Renumbering):
            return (
                f"teacher: retokenised('{self.name}', tokens=TOKENIZER OF THE DATA), which reads the text in its own "
                "tokens, with kd(temperature=1) or uld"
            )
        return f"{remedy} Or say what it calls a class: classes: {{CLASS OF THE DATA: ITS OWN}}"

    def _lay_out(self) -> None:
        """Channels last for convolutions on the processor, whether the teacher is heard live or recorded.

        A forward pass of a small residual network takes a sixth to a quarter less time so; the answers stay the same
        but for their last digits.
        """
        weights = [layer.weight for layer in self.model.modules() if isinstance(layer, nn.Conv2d)]
        if weights and all(weight.device.type == "cpu" for weight in weights):
            self.model.to(memory_format=torch.channels_last)

    def _refuse_moved(self, seal: "Seal") -> None:
        broken = seal.broken()
        if broken is not None:
            raise TeacherError(
                f"the teacher {self.name} moved: {broken}",
                expected="a teacher that stays frozen and in eval mode from prepare() on",
                remedy="give the teacher a copy of its own: copy.deepcopy(network)",
            )


def _said(model: Model, inputs: Shaped[Tensor, "rows ..."]) -> Signals:
    return listen(model, inputs)


@dataclass(frozen=True)
class SealedTensor:
    """A parameter or buffer as it was when it was sealed.

    `owner` is the module's own dictionary: a lookup in it is what makes the check cheap.
    """

    path: str
    owner: Mapping[str, Tensor | None]
    key: str
    tensor: Tensor
    version: int
    address: int
    checksum: int | None

    def broken(self) -> str | None:
        """What changed since, as far as it shows without reading the numbers."""
        if self.owner.get(self.key) is not self.tensor or self.tensor.data_ptr() != self.address:
            return f"{self.path} was replaced"
        if _version(self.tensor) != self.version:
            return f"{self.path} was changed in place"
        if self.tensor.requires_grad:
            return f"{self.path} asks for gradients"
        # Fused optimisers write without being counted, but only where there is a gradient.
        if self.tensor.grad is not None:
            return f"{self.path} holds a gradient, so that an optimiser may have changed it"
        return None


class Seal:
    """What a frozen module looked like, cheap enough to compare at every step.

    Every check notices train mode, gradients, replaced submodules and tensors, and every in-place change that autograd
    counts. Changes it does not count (fused optimisers, `tensor.data`) are found by the numbers themselves: on the CPU
    each check reads one tensor, in turn; on other devices, where reading waits for the device, only a fingerprint does.

    Args:
        module: The module, sealed as it is now.
    """

    def __init__(self, module: nn.Module) -> None:
        self.modules: list[tuple[str, nn.Module, tuple[nn.Module | None, ...]]] = []
        self.tensors: list[SealedTensor] = []
        self._turn = 0
        for name, part in module.named_modules():
            self.modules.append((name or "the model", part, tuple(part._modules.values())))
            for owner in (part._parameters, part._buffers):
                for key, tensor in owner.items():
                    if tensor is not None:
                        path, seen = f"{name}.{key}" if name else key, (_version(tensor), tensor.data_ptr())
                        self.tensors.append(SealedTensor(path, owner, key, tensor, *seen, _checksum(tensor)))

    def broken(self) -> str | None:
        """What changed since, None when nothing is known to have."""
        for name, part, children in self.modules:
            if part.training:
                return f"{name} is in train mode"
            if tuple(part._modules.values()) != children:
                return f"the submodules of {name} were replaced"
        for sealed in self.tensors:
            if (change := sealed.broken()) is not None:
                return change
        if self.tensors:
            self._turn = (self._turn + 1) % len(self.tensors)
            sealed = self.tensors[self._turn]
            if _checksum(sealed.tensor) != sealed.checksum:
                return f"{sealed.path} was changed in place, past autograd"
        return None


def _version(tensor: Tensor) -> int:
    # Tensors made in inference mode keep no count; outside of it nobody can change them.
    return -1 if tensor.is_inference() else tensor._version


_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _checksum(tensor: Tensor) -> int | None:
    """The sum of a tensor's bits read as whole numbers; None where reading it would have to wait."""
    words = _WORDS.get(tensor.element_size())
    if tensor.device.type != "cpu" or words is None or tensor.is_quantized:
        return None
    bits = tensor.detach()
    if bits.is_contiguous() and (bits.nbytes | bits.storage_offset() * bits.element_size()) % 8 == 0:
        # As the widest words, which are summed where they lie; narrower ones torch widens in a copy first.
        return int(bits.reshape(-1).view(torch.int64).sum())
    return int(bits.view(words).sum())
