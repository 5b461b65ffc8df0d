"""The norm of every sample's own loss gradient over all trainable parameters, exactly and fast.

Three ways, and the fastest that is exact for a model is taken:

- "hooks": one forward and one backward pass of the batch. Every layer's input and the gradient of its
  output give the norms by the layer's rule, see `grad_rules.py`. Parameters take no gradient meanwhile.
- "func": `torch.func`, for models with parameters that no rule reaches: in layers of other types, used
  twice or outside their layer, or shared.
- "backward": one backward pass a sample, for models that `torch.func` cannot map either.

What hooks see does not prove what a model does with its weights, so before a way is used it has to agree
with plain backward passes of two samples.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from dprune_cli.train.grad_rules import RULES, squared_norms
from dprune_cli.train.losses import sample_loss

# Bytes that a rule may take at a time: on a CPU as much as its caches hold, on a GPU enough to fill it.
_SCRATCH = {"cpu": 16 * 2**20}
_SCRATCH_GPU = 256 * 2**20
# Where a way is off by more, it is not another way to round, but wrong. GPUs may round convolutions to TF32.
_TOLERANCE = {"cpu": 1e-3}
_TOLERANCE_GPU = 1e-2
# Tensors of the size of the largest one that a backward pass holds beside those that were saved for it.
_IN_FLIGHT = 4
# Bytes that allocators and convolution libraries keep for themselves, however small the batch.
_KEPT = 16 * 2**20


class _NoRuleError(Exception):
    """The hooks cannot see all that happens to a model's parameters."""


class GradNorms:
    """Norms of every sample's own loss gradient over all trainable parameters.

    The loss is the cross-entropy, without label smoothing. Everything is computed in float32. The model
    is left as it was: no hook stays, and no gradient is written.

    Args:
        model: is in eval mode whenever norms are asked for.
        memory: bytes that a pass may take beyond model and batch; one sample is always passed.

    Attributes:
        way: how, "hooks", "func" or "backward"; it is settled with the first batch.
    """

    def __init__(self, model: nn.Module, memory: int) -> None:
        self._model = model
        self._memory = memory
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._layers = _trainable_layers(model)
        self._ways = list(_WAYS if _has_rules(model, self._layers) else ("func", "backward"))
        self._settled = False
        self._sizes: dict[torch.Size, int] = {}

    @property
    def way(self) -> str:
        """The way that is taken."""
        return self._ways[0]

    def __call__(self, pixels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and norms of a batch.

        Args:
            pixels: (B, 3, H, W) normalised images.
            target: (B,) class ids.

        Returns:
            (B, C) logits and (B,) norms, float32 and detached.

        Raises:
            RuntimeError: the model is in training mode.
        """
        if any(module.training for module in self._model.modules()):
            raise RuntimeError("per-sample gradients are those of a model in eval mode; call model.eval()")
        with torch.enable_grad(), torch.autocast(pixels.device.type, enabled=False):
            if not self._parameters or not len(pixels):
                logits = self._model(pixels).detach().float()
                return logits, logits.new_zeros(len(logits))
            if not self._settled:
                self._settle(pixels)
            return self._pieces(pixels, target)

    def _pieces(self, pixels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        try:
            number = math.ceil(len(pixels) / self._size(pixels))
            pairs = zip(pixels.tensor_split(number), target.tensor_split(number), strict=True)
            logits, norms = zip(*(self._pass(*pair) for pair in pairs), strict=True)
        except _NoRuleError:
            # A model may take another path for some images, and leave what the hooks can see.
            self._ways.remove("hooks")
            self._settle(pixels)
            return self._pieces(pixels, target)
        return torch.cat(logits), torch.cat(norms)

    def _settle(self, pixels: Tensor) -> None:
        """Drop the ways that do not agree with one backward a sample."""
        two = torch.cat([pixels, pixels])[:2] if len(pixels) < 2 else pixels[:2]
        with torch.no_grad():
            # The least likely class: the gradient of a sample that the model is sure of is mostly rounding.
            target = self._model(two).argmin(1)
        _, right = self._backward(two, target)
        tolerance = _TOLERANCE.get(pixels.device.type, _TOLERANCE_GPU)
        while self.way != "backward" and not self._agrees(two, target, right, tolerance):
            self._ways.pop(0)
        self._settled = True
        self._sizes.clear()

    def _agrees(self, pixels: Tensor, target: Tensor, right: Tensor, tolerance: float) -> bool:
        try:
            _, norms = self._pass(pixels, target)
        except torch.OutOfMemoryError:
            raise
        except (_NoRuleError, RuntimeError, ValueError):
            # RuntimeError and ValueError are how torch.func says what it cannot map.
            return False
        return torch.allclose(norms, right, rtol=tolerance, atol=0.0, equal_nan=True)

    def _pass(self, pixels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        logits, norms = _WAYS[self.way](self, pixels, target)
        return logits.detach().float(), norms.float()

    def _hooks(self, pixels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        with _frozen(self._parameters), ExitStack() as stack:
            tape = _Tape(pixels, self._scratch(pixels.device))
            for layer, names in self._layers.items():
                stack.enter_context(layer.register_forward_hook(partial(tape.watch, names)))
            logits = self._model(pixels)
            if self._layers.keys() != tape.inputs.keys():
                raise _NoRuleError
            if logits.requires_grad:
                # Not backward(): that would write gradients.
                torch.autograd.grad(sample_loss(logits, target).sum(), tape.leaves, allow_unused=True)
            return logits, tape.squares.sqrt()

    def _func(self, pixels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        trainable = {name: p.detach() for name, p in self._model.named_parameters() if p.requires_grad}

        def loss(parameters: Mapping[str, Tensor], image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
            logits = functional_call(self._model, dict(parameters), (image[None],))
            return sample_loss(logits, label[None])[0], logits[0]

        with warnings.catch_warnings():
            # Operations that it maps one by one; there is nothing that a user could do about it.
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            gradients, logits = vmap(grad(loss, has_aux=True), (None, 0, 0))(trainable, pixels, target)
        return logits, _norms(gradients.values())

    def _backward(self, pixels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        logits, norms = [], []
        for image, label in zip(torch.split(pixels, 1), torch.split(target, 1), strict=True):
            answer = self._model(image)
            gradients: list[Tensor] = []
            if answer.requires_grad:
                found = torch.autograd.grad(
                    sample_loss(answer, label)[0], self._parameters, allow_unused=True
                )
                gradients = [gradient[None] for gradient in found if gradient is not None]
            logits.append(answer.detach())
            norms.append(_norms(gradients) if gradients else answer.new_zeros(1))
        return torch.cat(logits), torch.cat(norms)

    def _scratch(self, device: torch.device) -> int:
        return min(_SCRATCH.get(device.type, _SCRATCH_GPU), self._memory // 4)

    def _size(self, pixels: Tensor) -> int:
        """Samples that can be passed at a time."""
        shape = pixels.shape[1:]
        if shape not in self._sizes:
            saved, largest = _measure(self._model, pixels[:1])
            free = self._memory - _KEPT
            if self.way == "hooks":
                each, free = saved + _IN_FLIGHT * largest, free - self._scratch(pixels.device)
            else:
                # Mapped layers copy their inputs, and every parameter's gradient is there until the end.
                own = sum(parameter.numel() * parameter.element_size() for parameter in self._parameters)
                each = 2 * saved + _IN_FLIGHT * largest + 2 * own
            self._sizes[shape] = max(1, free // max(1, each))
        return self._sizes[shape]


_Way = Callable[[GradNorms, Tensor, Tensor], tuple[Tensor, Tensor]]
_WAYS: dict[str, _Way] = {
    "hooks": GradNorms._hooks,
    "func": GradNorms._func,
    "backward": GradNorms._backward,
}


class _Tape:
    """What the hooks of one pass write down: inputs on the way forward, squared norms on the way back."""

    def __init__(self, pixels: Tensor, scratch: int) -> None:
        self.inputs: dict[nn.Module, tuple[Tensor, int] | None] = {}
        self.leaves: list[Tensor] = []
        self.squares = torch.zeros(len(pixels), device=pixels.device)
        self._scratch = scratch

    def watch(
        self, names: frozenset[str], layer: nn.Module, inputs: tuple[object, ...], output: object
    ) -> Tensor | None:
        """The forward hook of a layer."""
        x = inputs[0] if inputs else None
        if not isinstance(x, Tensor) or not isinstance(output, Tensor) or layer in self.inputs:
            raise _NoRuleError
        if len(x) != len(self.squares) or len(output) != len(x) or x.ndim != output.ndim:
            raise _NoRuleError
        self.inputs[layer] = x.detach(), x._version
        changed = None
        if not output.requires_grad:
            self.leaves.append(output.detach().requires_grad_())
            # What follows may work in place, which a leaf would not bear.
            output = changed = self.leaves[-1].clone()
        output.register_hook(partial(self._read, names, layer))  # type: ignore[no-untyped-call]
        return changed

    def _read(self, names: frozenset[str], layer: nn.Module, gradient: Tensor) -> None:
        seen, self.inputs[layer] = self.inputs[layer], None
        # A second version is not what the layer saw.
        if seen is None or seen[0]._version != seen[1]:
            raise _NoRuleError
        self.squares += squared_norms(layer, names, seen[0], gradient, self._scratch)


def _trainable_layers(model: nn.Module) -> dict[nn.Module, frozenset[str]]:
    """Modules that own trainable parameters, with the names of these."""
    layers = {}
    for module in model.modules():
        own = module.named_parameters(recurse=False, remove_duplicate=False)
        if names := frozenset(name for name, parameter in own if parameter.requires_grad):
            layers[module] = names
    return layers


def _has_rules(model: nn.Module, layers: dict[nn.Module, frozenset[str]]) -> bool:
    """Whether hooks can see all trainable parameters, as far as the modules tell."""
    shared = len({id(getattr(layer, name)) for layer, names in layers.items() for name in names})
    return (
        shared == sum(map(len, layers.values()))
        and all(type(layer) in RULES and names <= {"weight", "bias"} for layer, names in layers.items())
        # They would take their statistics from the batch, and samples would depend on each other.
        and not any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
            for module in model.modules()
        )
    )


@contextmanager
def _frozen(parameters: Collection[nn.Parameter]) -> Iterator[None]:
    """No gradients for these parameters, and afterwards as before."""
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in zip(parameters, before, strict=True):
            parameter.requires_grad_(flag)


def _norms(gradients: Collection[Tensor]) -> Tensor:
    """(B,) norms over all gradients (B, ...)."""
    each = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients]
    return torch.linalg.vector_norm(torch.stack(each), dim=0)


def _measure(model: nn.Module, pixels: Tensor) -> tuple[int, int]:
    """Bytes that one sample's forward pass saves for the backward pass, in all and in the largest tensor."""
    known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers(), pixels)}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # Held until all is counted: memory that was given back would be counted for two.
        logits = model(pixels)
    total, largest = sum(sizes.values()), max(sizes.values(), default=0)
    del logits
    return total, largest
