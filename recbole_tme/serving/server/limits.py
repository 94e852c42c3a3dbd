"""How long a client may take: connections that send or read too slowly are closed."""

from __future__ import annotations

# Seconds from the connection, or from the last answer, to the end of the next request's head ...
HEAD_SECONDS = 10
# ... and between an answer that is stuck in the network and its going on.
READ_SECONDS = 20


def impatient_protocol() -> type:
    """uvicorn's HTTP protocol, which closes connections whose client sends a head, or reads an answer, too slowly."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class ImpatientProtocol(H11Protocol):
        _head_timer = _read_timer = None

        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            self._await_head()

        def connection_lost(self, exc) -> None:
            self._stop_timers()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self.transport.is_closing():
                self._await_head()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._read_timer = self.loop.call_later(READ_SECONDS, self.transport.abort)

        def resume_writing(self) -> None:
            if self._read_timer is not None:
                self._read_timer.cancel()
            super().resume_writing()

        def _await_head(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._close_unless_answering)

        def _close_unless_answering(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

        def _stop_timers(self) -> None:
            for timer in (self._head_timer, self._read_timer):
                if timer is not None:
                    timer.cancel()

    return ImpatientProtocol
