"""Training steps on a device that is not the CPU and knows nothing but shapes: run as a program, a line of JSON for
each step.

An operation that would make the host wait for a value, or that mixes tensors of two devices, raises, as no value exists
and the devices differ. PyTorch's own stand-in for a GPU under that name needs a build with CUDA; a private backend does
not. What the models' kernels compute is not seen here.
"""

import json
from contextlib import nullcontext

import torch
from helpers.steps import LOSS_TYPES, model_and_batch, step
from recbole.data.interaction import Interaction
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import backend_registration as registration

from recbole_tme.models import atsrec

STEPS = [(name, {"loss_type": loss_type}) for name, loss_type in LOSS_TYPES]
STEPS += [("ATSRec", {"backbone": "TMEGNN", "rank_low": 3, "rank_high": 20, "adv_attack": "fgm"})]
# Sums of sparse gradients have no shapes here, which leaves out its sampled losses.
STEPS += [("ATSRec", {"backbone": "SRGNN", "adv_attack": "pgd"})]
# What must not go unnoticed.
FAULTS = {
    "waits for a value": lambda values: values.sum().item(),
    "waits for a number of rows": lambda values: values[values > 0],
    "mixes devices": lambda values: values + torch.ones(len(values)),
}
GATES = 3


def make_device() -> None:
    """Let PyTorch know a device of the name "shapes"."""
    module = registration._DummyBackendModule()
    # Mixed precision asks for it.
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    registration._setup_privateuseone_for_python_backend("shapes", backend_module=module)


def know_shapes_of_the_gru() -> torch.library.Library:
    """The one operation here that PyTorch has no shapes for."""
    library = torch.library.Library("aten", "IMPL")

    def forward(inputs, hidden, state, *biases):
        return torch.empty_like(state), state.new_empty(len(state), 5 * state.shape[1])

    def backward(gradient, workspace, has_bias):
        n, size = gradient.shape
        gates = [gradient.new_empty(n, GATES * size) for _ in range(2)]
        return *gates, torch.empty_like(gradient), *(gradient.new_empty(GATES * size) for _ in range(2))

    library.impl("_thnn_fused_gru_cell", forward, "Meta")
    library.impl("_thnn_fused_gru_cell_backward", backward, "Meta")
    return library


def moved(tensor: torch.Tensor, mode: FakeTensorMode) -> torch.Tensor:
    """The tensor's shape on the device, a parameter where it is one."""
    shape = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    fake = FakeTensor(mode, shape, torch.device("shapes:0"))
    return torch.nn.Parameter(fake, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else fake


def try_step(name: str, settings: dict) -> None:
    model, batch = model_and_batch(name, "cpu", **settings)
    mode = FakeTensorMode()
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            held.update({key: moved(tensor, mode) for key, tensor in held.items() if tensor is not None})
    batch = Interaction({key: moved(tensor, mode) for key, tensor in batch.interaction.items()})
    with mode:
        assert step(model, batch).device.type == "shapes"
    assert all(p.grad.device.type == "shapes" for p in model.parameters() if p.grad is not None)


def try_fault(fault) -> None:
    mode = FakeTensorMode()
    with mode:
        fault(moved(torch.ones(4), mode))


def main() -> None:
    make_device()
    library = know_shapes_of_the_gru()
    # Random numbers are shapes too, and their generators' states are kept by NumPy.
    atsrec.rng_state, atsrec.replaying = lambda: None, lambda state: nullcontext()
    tries = [(f"{name} {settings}", try_step, (name, settings)) for name, settings in STEPS]
    tries += [(label, try_fault, (fault,)) for label, fault in FAULTS.items()]
    for label, attempt, arguments in tries:
        try:
            attempt(*arguments)
            outcome = "passes"
        except Exception as error:
            outcome = f"{type(error).__name__} {str(error).splitlines()[0]}"
        print(json.dumps([label, outcome]))
    del library


if __name__ == "__main__":
    main()
