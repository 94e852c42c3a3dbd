"""Several of Ray's workers that work together: all at the same time, and none without the others."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from recbole_tme.errors import UserError, first_line
from recbole_tme.experiment.cluster import Place, Resources, called

# Seconds that the nodes have to make room for them.
ROOM_WITHIN = 60
# Seconds in which the peers of one that has failed end too, or are ended. Ray needs some of them to find a loss out.
PEERS_END_WITHIN = 20


class Lost(Exception):
    """A worker that others worked with has ended."""


def call_together(
    function: Callable, calls: Sequence[tuple], resources: Resources, meanwhile: Callable[[], None] = lambda: None
) -> list[Any]:
    """Call a function in as many of Ray's workers at the same time, which exchange data; spread over the nodes.

    To be used inside :func:`~recbole_tme.experiment.cluster.connected`.

    Args:
        function: of a module's top level, called as ``function(meeting_point, *arguments)`` with ``tcp://HOST:PORT`` of
            the first worker, at which nothing listens yet.
        calls: the arguments for each worker, which can be pickled.
        resources: what each occupies.
        meanwhile: called about once a second.

    Returns:
        What each returned.

    Raises:
        Lost: a worker has ended (it was killed, its node ended), so that the others were ended as well.
        UserError: the nodes have no room for all, or what the function raised.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    amounts = {"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {})
    room = placement_group([amounts] * len(calls), strategy="SPREAD")
    members = []
    try:
        if not room.wait(ROOM_WITHIN):
            raise UserError(
                f"the cluster has no room for {len(calls)} workers of {amounts} at the same time; ask for less"
            )
        for place in range(len(calls)):
            where = PlacementGroupSchedulingStrategy(room, placement_group_bundle_index=place)
            kind = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, scheduling_strategy=where)(_Member)
            members.append(kind.remote())
        try:
            meeting_point = ray.get(members[0].meeting_point.remote())
        except ray.exceptions.RayError as lost:
            raise Lost(str(lost)) from lost
        place_here = Place.here(resources)
        calling = [m.call.remote(function, (meeting_point, *call), place_here) for m, call in zip(members, calls)]
        return _results(calling, meanwhile)
    finally:
        for member in members:
            ray.kill(member)
        remove_placement_group(room)


def _results(calling: Sequence[Any], meanwhile: Callable[[], None]) -> list[Any]:
    """What calls that need one another return; see :func:`call_together`."""
    import ray

    found: dict[Any, tuple[Any, BaseException | None]] = {}
    waiting, deadline = list(calling), None
    while waiting and (deadline is None or time.monotonic() < deadline):
        done, waiting = ray.wait(waiting, num_returns=1, timeout=1)
        meanwhile()
        for one in done:
            try:
                value, error, _ = ray.get(one)
            except ray.exceptions.RayError as lost:
                value, error = None, Lost(first_line(lost))
            found[one] = value, error
            if error is not None and deadline is None:
                # One that has lost a peer says so at once, and Ray only a little later that the peer is gone.
                deadline = time.monotonic() + PEERS_END_WITHIN
    errors = [error for _, error in found.values() if error is not None]
    for kind in (Lost, UserError, BaseException):
        for error in errors:
            if isinstance(error, kind):
                raise error
    return [found[one][0] for one in calling]


class _Member:
    """A worker of several that work together."""

    def meeting_point(self) -> str:
        """An address of this worker's node at which nothing listens."""
        import ray

        host = ray.util.get_node_ip_address()
        with socket.socket() as tried:
            tried.bind((host, 0))
            return f"tcp://{host}:{tried.getsockname()[1]}"

    def call(self, function: Callable, arguments: tuple, place: Place) -> tuple[Any, BaseException | None, str]:
        return called(function, arguments, place)


def use_interface_of_node() -> None:
    """Have gloo and NCCL, in a worker, listen where its node does, unless the environment says where."""
    import ray

    host = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == host for one in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
