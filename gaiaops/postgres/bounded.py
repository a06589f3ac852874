"""psycopg's connection with an end to every wait: the server's own timeouts say nothing where no answer comes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.pq import ConnStatus

from gaiaops.postgres.failures import GRACE_MS, no_answer

if TYPE_CHECKING:
    from psycopg.abc import PQGen

T = TypeVar("T")


class Connection(psycopg.Connection):
    """A connection that waits for an answer as long as a statement may take, and a grace; `statement_ms` 0 is for ever.
    `address` is the server's, for people.

    Once no answer came none is waited for any more: what comes then belongs to the question before.
    """

    statement_ms = 0
    address = ""
    _silent = False

    def wait(self, gen: PQGen[T], *arguments: Any, **options: Any) -> T:
        """As psycopg's. Raises NoAnswerError at the end of the time."""
        try:
            return super().wait(self._bounded(gen), *arguments, **options)
        except ValueError:
            # The end of a COPY takes one result for granted (psycopg 3.3, generators.copy_end); where the server says
            # why it goes and then is gone there are two.
            if self.pgconn.status == ConnStatus.OK:
                raise
            raise psycopg.OperationalError(self.pgconn.error_message.decode("utf-8", "replace")) from None

    def _bounded(self, gen: PQGen[T]) -> PQGen[T]:
        """The same generator, which is asked ten times a second while nothing comes, with an eye on the clock."""
        bound = (self.statement_ms + GRACE_MS) / 1000 if self.statement_ms else float("inf")
        end = time.monotonic() + (0 if self._silent else bound)
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > end:
                    self._silent = True
                    raise no_answer(self.statement_ms, self.address)
                wanted = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result
