"""Training in several processes: what they exchange. In a process of its own each function does nothing.

Gradients are averaged after the backward pass instead of by ``DistributedDataParallel``: losses are asked for by name
and not through ``forward``, shares of a batch may differ in size, and gradients of an item table may be sparse, which
NCCL has no sum for.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from recbole_tme.nn.row_optim import row_tables

# Bytes of gradients handed out, see take_sent.
_sent = [0]


@contextmanager
def group(rank: int, size: int, device: torch.device, meeting_point: Path | str) -> Iterator[None]:
    """Be one of ``size`` processes while the block runs: NCCL on GPUs, gloo on CPUs.

    Args:
        rank: number of this process, 0 is the main one.
        size: number of processes.
        device: what this process computes on.
        meeting_point: the same for all, and through it they find one another: a file that does not exist yet, or
            ``tcp://HOST:PORT``, at which the main process will listen.
    """
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    meeting = meeting_point if isinstance(meeting_point, str) else f"file://{meeting_point}"
    if not meeting.startswith("tcp:"):
        _stay_on_this_machine()
    dist.init_process_group("nccl" if on_gpu else "gloo", init_method=meeting, rank=rank, world_size=size)
    yield
    # Only after success: a process that fails ends at once, and its peers notice.
    dist.destroy_process_group()


def _stay_on_this_machine() -> None:
    """Have gloo and NCCL listen on the loopback interface, unless the environment says where.

    They listen on the address that the machine's name stands for otherwise, which others may reach.
    """
    loopback = next((name for _, name in socket.if_nameindex() if re.fullmatch(r"lo\d*", name)), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", loopback)


def rank() -> int:
    """Number of this process; 0 also where there is no other."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def gather(value: Any) -> list[Any]:
    """A picklable value of each process, in order of rank; in every process."""
    values = [value] * size()
    if size() > 1:
        dist.all_gather_object(values, value)
    return values


def from_main(value: Any) -> Any:
    """The main process's value in every process."""
    values = [value]
    if size() > 1:
        dist.broadcast_object_list(values)
    return values[0]


def total(values: Tensor) -> Tensor:
    """Sum over the processes, on the CPU."""
    if size() == 1:
        return values.cpu()
    values = values.to(_exchange_device())
    dist.all_reduce(values)
    return values.cpu()


def total_by_name(values: dict[str, Tensor]) -> dict[str, float]:
    """Sum over the processes of each named scalar; a process may lack names that others have."""
    totals: dict[str, float] = {}
    for part in gather({name: float(value) for name, value in values.items()}):
        for name, value in part.items():
            totals[name] = totals.get(name, 0.0) + value
    return totals


def average_gradients(model: nn.Module, n_rows: int) -> float:
    """Give every process the gradient of the mean loss over the rows of all of them.

    Args:
        model: after the backward pass of this process's mean loss over its own rows; without gradients where it has
            no row. Parameters without a gradient in any process stay without.
        n_rows: rows of this process.

    Returns:
        This process's share of all rows.
    """
    if size() == 1:
        return 1.0
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    device = _exchange_device()
    counts = torch.tensor([n_rows, *(parameter.grad is not None for parameter in parameters)], device=device)
    dist.all_reduce(counts)
    all_rows, *with_gradient = counts.tolist()
    share = n_rows / float(all_rows)
    tables = row_tables(model)
    dense = []
    for parameter, n in zip(parameters, with_gradient):
        if n and parameter in tables:
            _average_rows(parameter, share)
        elif n:
            dense.append(parameter)
    if dense:
        flat = torch.cat([_flat_gradient(parameter) for parameter in dense]).mul_(share)
        _count(flat)
        dist.all_reduce(flat)
        for parameter, part in zip(dense, flat.split([parameter.numel() for parameter in dense])):
            parameter.grad = part.view_as(parameter)
    return share


def take_sent() -> int:
    """Bytes of gradients that this process has handed to the others since the last call: what a step of its own costs,
    whatever way it goes on the network."""
    sent, _sent[0] = _sent[0], 0
    return sent


def _count(*tensors: Tensor) -> None:
    _sent[0] += sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def broadcast_buffers(model: nn.Module) -> None:
    """Give every process the main one's buffers (running statistics and the like)."""
    if size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def _flat_gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter).view(-1) if parameter.grad is None else parameter.grad.reshape(-1)


def _average_rows(table: nn.Parameter, share: float) -> None:
    """Put the processes' sparse gradients of a table together, each weighted by its share."""
    if table.grad is None:
        rows, values = torch.zeros(0, dtype=torch.long, device=table.device), table.new_zeros(0, table.shape[1])
    else:
        gradient = table.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values() * share
    found = torch.zeros(size(), dtype=torch.long, device=table.device)
    found[rank()] = len(rows)
    dist.all_reduce(found)
    lengths = found.tolist()
    # Every process must send as much as the others.
    spare = max(lengths) - len(rows)
    _count(rows, values)
    all_rows = _all_gather(nn.functional.pad(rows, (0, spare)), lengths)
    all_values = _all_gather(nn.functional.pad(values, (0, 0, 0, spare)), lengths)
    places = all_rows.unsqueeze(0)
    table.grad = torch.sparse_coo_tensor(places, all_values, table.shape, check_invariants=False).coalesce()


def _all_gather(padded: Tensor, lengths: list[int]) -> Tensor:
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths)])


def _exchange_device() -> torch.device:
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
