"""A causal model of transformers as a network of Limbeck: rows of tokens in, hidden states and a head out."""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from limbeck.errors import ModelError
from limbeck.languages.generation import Sampling, continued
from limbeck.languages.packed import starts
from limbeck.languages.probing import Packing, packing_of, read_through_head
from limbeck.model import HeadedNetwork, answering

# What layers that see only a part of the row before them are called in configurations.
_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size", "local_attention_window")


class LanguageNetwork(HeadedNetwork):
    """A causal language model that says hidden states, and the head that makes logits of them.

    A row is two lines of whole numbers: the tokens, and beside each the number of its document in the row, from 1; 0 is
    padding. Positions begin anew with each document, and no position sees another document. Whether the family really
    does so is measured when the network is made (`packing`); one that does not takes one document a row.

    The submodules are `body`, the model without its head, and `head`. A head that shares its weight with the embedding
    stays so: the weight is one parameter, and stands once in a state dict. The token that the configuration calls
    padding learns like any other, since padding is not told by its token here.

    Args:
        model: A causal model of transformers, such as `AutoModelForCausalLM` gives. It is taken over, not copied.

    Attributes:
        cut: How many rows of its vocabulary were cut off when it was aligned with data.

    Raises:
        ModelError: When it is not causal, has no linear head, or does to its logits what no factor says.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        head, body = model.get_output_embeddings(), getattr(model, model.base_model_prefix, None)
        if model.config.is_encoder_decoder or not isinstance(head, nn.Linear) or not isinstance(body, nn.Module):
            raise ModelError(
                f"{type(model).__name__} is no body with a linear head",
                expected="a causal (decoder only) language model",
                remedy="name one that AutoModelForCausalLM loads",
            )
        self.body, self.head, self.training = body, head, body.training
        # Not a submodule: its parts are, and each should have one name.
        self._whole = (model,)
        self._tuner: tuple[Any, dict[str, Any]] | None = None
        self.cut = 0
        self.embedding.padding_idx = None
        self.register_state_dict_post_hook(_without_shared)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_shared)  # type: ignore[no-untyped-call]
        tokens = torch.arange(4, device=head.weight.device)[None] % self.size
        with answering(self), torch.no_grad():
            said = _hidden(self, tokens, torch.ones_like(tokens), "positions")
            self.scale = read_through_head(model, head, said, tokens)
            if self.scale != 1 and head.bias is not None:
                raise ModelError(
                    f"the head of this {self.family} model has a bias, and its logits a factor of {self.scale:g}",
                    expected="one of both at most",
                )
            self.packing: Packing | None = packing_of(self, _hidden, self.size, self._windows())

    @property
    def model(self) -> Any:
        """The model of transformers, of which body and head are parts."""
        return self._whole[0]

    @property
    def tuner(self) -> Any:
        """What put adapters beside the weights, in peft's form; None where there are none."""
        return None if self._tuner is None else self._tuner[0]

    def tuned(self, tuner: Any, adapter: Mapping[str, Any]) -> None:
        """Notes that the body's layers have adapters now, and how they are made again."""
        self._tuner = (tuner, dict(adapter))

    @property
    def config(self) -> Any:
        """The model's configuration, as transformers keeps it."""
        return self._whole[0].config

    @property
    def family(self) -> str:
        """What transformers calls this kind of model, such as llama."""
        return str(self.config.model_type)

    @property
    def embedding(self) -> nn.Embedding:
        """The embedding of tokens."""
        body: Any = self.body
        found: nn.Embedding = body.get_input_embeddings()
        return found

    @property
    def tied(self) -> bool:
        """Whether head and embedding are one parameter."""
        return self.head.weight is self.embedding.weight

    @property
    def size(self) -> int:
        """How many tokens it tells apart, those that only fill up included."""
        return int(self.head.out_features)

    @property
    def context(self) -> int | None:
        """The longest document it was made for, in tokens; None where nothing says so."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None)

    def hidden(self, inputs: Int[Tensor, "rows 2 length"]) -> Float[Tensor, "rows length width"]:
        """What the head is given at every position; logits are `head` of it, and nothing else.

        A factor that the model puts on its logits is in these hidden states. Where the row is padding, they mean
        nothing.

        Raises:
            ModelError: When documents share a row and the family cannot keep them apart, or one is longer than the
                context.
        """
        tokens, documents = inputs[:, 0].long(), inputs[:, 1].long()
        if self.packing is None and bool(((documents != documents[:, :1]) & (documents != 0)).any()):
            raise ModelError(
                f"this {self.family} model cannot keep the documents of a row apart, or see where one begins",
                expected="one document a row, from its first position, and padding after it",
                remedy="do not pack documents for it, or take a family with attention alone",
            )
        if self.context is not None and inputs.shape[2] > self.context:
            self._refuse_long(documents)
        said = _hidden(self, tokens, documents, self.packing or "positions")
        return said if self.scale == 1 else said * self.scale

    def forward(self, inputs: Int[Tensor, "rows 2 length"]) -> Float[Tensor, "rows length vocabulary"]:
        """Logits at every position."""
        return self.head(self.hidden(inputs))

    def renumber(self, tokens: Int[Tensor, " tokens"]) -> None:
        """Keeps some of the tokens, in a new order: embedding and head from then on speak of them by their new numbers.

        So a padded vocabulary is cut to what the tokenizer knows, and a teacher reads the numbers of the student's
        tokenizer. What is cut off has no probability, since it has no row.

        Args:
            tokens: For each new number the present one.

        Raises:
            ModelError: When another parameter has a row for each token too.
        """
        self.cut += max(self.size - len(tokens), 0)
        before, ours = self.size, {id(self.embedding.weight), id(self.head.weight), id(self.head.bias)}
        for name, parameter in self.named_parameters():
            if id(parameter) not in ours and before in parameter.shape and before != self.head.in_features:
                raise ModelError(
                    f"{name} of this {self.family} model has {before} rows, one for each token",
                    expected="tokens in the embedding and the head alone",
                    remedy="a teacher and a student with one vocabulary need no renumbering",
                )
        tied, index = self.tied, tokens.to(self.head.weight.device)
        self.head.weight = _taken(self.head.weight, index)
        self.embedding.weight = self.head.weight if tied else _taken(self.embedding.weight, index)
        if self.head.bias is not None:
            self.head.bias = _taken(self.head.bias, index)
        self.head.out_features = self.embedding.num_embeddings = len(index)
        place = {int(old): new for new, old in enumerate(tokens.tolist())}
        for part in (self.config, self.config.get_text_config()):
            part.vocab_size = len(index)
            for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
                setattr(part, name, _renumbered(getattr(part, name, None), place))
        for module in (self._whole[0], self.body):
            if hasattr(module, "vocab_size"):
                module.vocab_size = len(index)

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, numbers: Sequence[int] | None = None
    ) -> list[list[int]]:
        """What the model goes on with after each prompt, up to and with the token that ends it.

        Args:
            prompts: Tokens, at least one each; of different lengths.
            sampling: How long, until which token, and how each is chosen.
            numbers: A number for each prompt, from which its draws follow; its place when left out.

        Raises:
            ModelError: When a prompt is empty, or the longest leaves too little of the context.
        """
        longest = max(map(len, prompts), default=0) + sampling.length
        if self.context is not None and longest > self.context:
            raise ModelError(
                f"{longest} tokens, prompt and answer, are more than the context of this {self.family} model",
                expected=f"{self.context} at most",
                remedy="shorter prompts, or a smaller length",
            )
        with answering(self), torch.no_grad():
            return continued(self._whole[0], prompts, sampling, self.head.weight.device, numbers)

    def description(self) -> dict[str, Any]:
        """What builds the same network again without its weights, as plain JSON; see `loading.described`."""
        config = json.loads(self.config.to_json_string(use_diff=False))
        config.pop("_name_or_path", None)  # a place on this machine
        said = {"config": config, "attention": self.config._attn_implementation}
        return said if self._tuner is None else {**said, "adapter": self._tuner[1]}

    def save(self, folder: Path, *, end: Sequence[int] = ()) -> None:
        """Writes a folder that transformers loads, with weights as safetensors; of a copy into which adapters went.

        Args:
            folder: A new one, or one to write into.
            end: Tokens after which transformers' own `generate` shall stop; none leaves what the model says of itself.
        """
        whole = self.model if self._tuner is None else copy.deepcopy(self.tuner).merge_and_unload()
        whole.save_pretrained(str(folder))
        if end:
            stops = copy.deepcopy(self.model.generation_config)
            stops.eos_token_id = list(end)
            stops.save_pretrained(str(folder))

    def extra_repr(self) -> str:
        """The configuration decides the answers, so it belongs in the fingerprint."""
        said = {
            name: value
            for name, value in self.description()["config"].items()
            if name not in ("transformers_version", "architectures")
        }
        if self._tuner is not None:
            said["adapter"] = self._tuner[1]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
        return f"family={self.family}, configuration={digest}, packing={self.packing}, scale={self.scale:g}"

    def _windows(self) -> bool:
        config = self.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        return bool(kinds - {"full_attention"}) or any(getattr(config, name, None) for name in _WINDOWS)

    def _refuse_long(self, documents: Tensor) -> None:
        # Padding is no part of a document, though it counts on from the one before it.
        longest = int(torch.where(documents != 0, starts(documents)[0] + 1, 0).max())
        if self.context is not None and longest > self.context:
            raise ModelError(
                f"a document of {longest} tokens is longer than the context of this {self.family} model",
                expected=f"{self.context} tokens at most",
                remedy="shorter rows",
            )


def _hidden(network: Any, tokens: Tensor, documents: Tensor, packing: Packing) -> Tensor:
    """The body's last hidden states."""
    positions, document = starts(documents)
    if network.context is not None and documents.shape[1] > network.context:
        positions = positions.clamp(max=network.context - 1)  # padding may be longer than what has a position
    mask = _mask(network, document) if packing == "mask" else None
    said = network.body(input_ids=tokens, position_ids=positions, attention_mask=mask, use_cache=False)
    hidden: Tensor = said[0]
    return hidden


def _mask(network: Any, document: Tensor) -> Tensor:
    """Which position sees which, in the form that the way of attention asks for."""
    length = document.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=document.device).tril()
    sees = (before & (document[:, :, None] == document[:, None, :]))[:, None]
    if network.config._attn_implementation == "sdpa":
        return sees
    precision = network.head.weight.dtype
    least = torch.full((), torch.finfo(precision).min, dtype=precision, device=document.device)
    return torch.where(sees, torch.zeros_like(least), least)


def _taken(parameter: Tensor, index: Tensor) -> nn.Parameter:
    return nn.Parameter(parameter.detach()[index].clone(), requires_grad=parameter.requires_grad)


def _renumbered(token: Any, place: Mapping[int, int]) -> Any:
    """A token of the configuration, or a list of them, by its new number; None where it was not kept."""
    if isinstance(token, list | tuple):
        return [place[each] for each in token if each in place] or None
    return place.get(token) if isinstance(token, int) else None


def _shared(network: LanguageNetwork) -> str | None:
    """The name under which the head's weight stands in a state dict too; None where it has one of its own."""
    if not network.tied:
        return None
    embedding = network.embedding
    return next(f"{name}.weight" for name, module in network.named_modules() if module is embedding)


def _without_shared(network: Any, tensors: dict[str, Any], prefix: str, metadata: Any) -> None:
    if _shared(network) is not None:
        tensors.pop(f"{prefix}head.weight", None)


def _with_shared(network: Any, tensors: dict[str, Any], prefix: str, *rest: Any) -> None:
    if (name := _shared(network)) is not None and f"{prefix}{name}" in tensors:
        tensors.setdefault(f"{prefix}head.weight", tensors[f"{prefix}{name}"])
