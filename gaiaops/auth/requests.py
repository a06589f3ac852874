"""One request to the admin API: tried again where that helps, and a plain value for why it failed where not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import msgspec

from gaiaops.errors import ConnectError, DeadlineError, GaiaopsError, StatementError

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

T = TypeVar("T")

_LONGEST_RETRY_AFTER = 60.0
_REDIRECTS = 3
# A gateway in trouble fails everything; one page in trouble fails alone.
_MISSES = 3


class Kind(Enum):
    """What a failure says about the next request."""

    ROW = "row"  # a user on the page cannot be read: smaller pages find it
    PAGE = "page"  # this page failed, others may not
    DOWN = "down"  # nothing will be answered any more


class Failure(msgspec.Struct, frozen=True):
    """Why a request failed, in words that hold no secret."""

    words: str
    kind: Kind
    error: type[GaiaopsError] = StatementError
    hint: str = ""

    def raised(self) -> GaiaopsError:
        """The error of the tree for it."""
        answered = "answered " if self.words[0].isdigit() else ""
        return self.error(f"Supabase Auth {answered}{self.words}", hint=self.hint)


class FailedError(Exception):
    """A request that failed. `attempts` is how many are worth making, `longest` the longest wait between two of them,
    `retry_after` the wait that the server asks for."""

    def __init__(
        self, failure: Failure, attempts: int = 1, *, longest: float = 5.0, retry_after: float | None = None
    ) -> None:
        super().__init__(failure.words)
        self.failure = failure
        self.attempts = attempts
        self.longest = longest
        self.retry_after = retry_after


class Requests:
    """GET requests of one administrator, from any thread.

    `deadline` is a moment of time.monotonic() after which nothing is asked any more.
    """

    def __init__(self, http: httpx.Client, deadline: float | None = None) -> None:
        self._http = http
        self._deadline = deadline
        self._ended = threading.Event()
        self._broken: Failure | None = None
        self._misses = 0
        self._accepted = False
        self.server_time: datetime | None = None

    def get(
        self, path: str, parameters: Mapping[str, str | int], read: Callable[[httpx.Response], T], *, sure: bool = True
    ) -> T:
        """What `read` makes of the answer: a 200, or a 404 that says `user_not_found`.

        With `sure` a row that cannot be read is asked for more than once. Raises FailedError where the answer cannot
        be had, or `read` cannot decode it.
        """
        from tenacity import Retrying, retry_if_exception

        def worth(error: BaseException) -> bool:
            return isinstance(error, FailedError) and (sure or error.failure.kind is not Kind.ROW)

        retrying = Retrying(
            retry=retry_if_exception(worth),
            stop=self._enough,
            wait=_pause,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            result: T = retrying(self._once, path, parameters, read)
        except FailedError as error:
            self._missed(error.failure)
            raise
        self._misses = 0
        return result

    def mend(self) -> None:
        """Asks again although the server seemed to be gone."""
        self._broken, self._misses = None, 0

    def end(self) -> None:
        """Lets requests that wait for their next attempt fail now; for another thread's sake."""
        self._ended.set()

    def _missed(self, failure: Failure) -> None:
        self._misses += failure.kind is not Kind.ROW
        if failure.kind is Kind.DOWN or self._misses >= _MISSES:
            self._broken = self._broken or failure

    def _enough(self, state: RetryCallState) -> bool:
        error = state.outcome and state.outcome.exception()
        tries = error.attempts if isinstance(error, FailedError) else 1
        late = state.upcoming_sleep >= self._left()  # then the last failure says more than that the time is up
        return state.attempt_number >= tries or late or self._ended.is_set() or self._broken is not None

    def _sleep(self, seconds: float) -> None:
        self._ended.wait(seconds if self._deadline is None else min(seconds, self._left()))

    def _left(self) -> float:
        return float("inf") if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _once(self, path: str, parameters: Mapping[str, str | int], read: Callable[[httpx.Response], T]) -> T:
        if self._broken is not None:
            raise FailedError(self._broken)
        if self._ended.is_set() or not self._left():
            hint = "try again later, or give it more time: timeouts in the registry"
            raise FailedError(Failure("the statement timeout ended it", Kind.DOWN, DeadlineError, hint))
        response = self._sent(path, parameters)
        if self.server_time is None:
            self.server_time = parsed_date(response.headers.get("date"))
        self._check(response)
        try:
            return read(response)
        except msgspec.ValidationError as error:
            raise FailedError(Failure(f"the answer is not what was expected: {error}", Kind.ROW), 2) from None
        except (msgspec.DecodeError, UnicodeError):
            raise FailedError(Failure("the answer is not JSON", Kind.PAGE, hint="check supabase.url"), 6) from None

    def _sent(self, path: str, parameters: Mapping[str, str | int]) -> httpx.Response:
        import httpx

        timeout = self._http.timeout
        if self._deadline is not None:
            timeout = httpx.Timeout(min(timeout.read or 30.0, self._left() + 0.1), connect=timeout.connect)
        try:
            request = self._http.build_request("GET", path, params=dict(parameters), timeout=timeout)
            response = self._http.send(request)
            for _ in range(_REDIRECTS):
                if response.next_request is None:
                    return response
                _same_server(request.url, response.next_request.url)
                # The library drops the key where the scheme changes; the server is the same.
                onward = self._http.build_request("GET", response.next_request.url, timeout=timeout)
                response = self._http.send(onward)
        except httpx.HTTPError as error:
            raise _transport(error, known=self._accepted) from None
        except httpx.InvalidURL:
            raise FailedError(_elsewhere("redirects to no valid address")) from None
        if response.next_request is not None:
            raise FailedError(_elsewhere(f"redirects more than {_REDIRECTS} times"))
        return response

    def _check(self, response: httpx.Response) -> None:
        """Raises FailedError unless the answer is one to read."""
        status = response.status_code
        if status == 200:
            self._accepted = True
            return
        code = error_code(response)
        if status == 404 and code == "user_not_found":
            return
        words = f"{status} {code}".strip()
        if status in (401, 403):
            refused = Failure(
                f"refused the service key ({code or status})", Kind.DOWN, ConnectError, "check supabase.service_key"
            )
            # One that is valid is refused now and then (supabase-auth.md); one that is not must fail soon.
            raise FailedError(refused, 8 if self._accepted else 5, longest=1.0)
        if status == 500:
            hint = "one bad row fails a whole page; SQL access (supabase.database) does not have this"
            raise FailedError(Failure(words, Kind.ROW, hint=hint), 3)
        if status in (408, 425, 429) or status > 500:
            wait = retry_after(response.headers.get("retry-after"))
            raise FailedError(Failure(words, Kind.PAGE, hint="try again later"), 6, retry_after=wait)
        # Below 300 and above 200, or a redirect without an address: whoever answers is not Supabase Auth.
        raise FailedError(Failure(words, Kind.PAGE, hint="check supabase.url"))


def error_code(response: httpx.Response) -> str:
    """The server's own code of an error, "" where somebody else answered.

    The header is sent with every error; a gateway may drop it, and the body has it in one of two shapes.
    """
    if header := response.headers.get("x-sb-error-code"):
        return str(header)
    try:
        body = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeError):
        return ""
    codes = [body.get("error_code"), body.get("code")] if isinstance(body, dict) else []
    return next((code for code in codes if isinstance(code, str) and code.isascii() and len(code) < 50), "")


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """How many seconds a Retry-After header asks for, at most a minute; None where it asks for nothing.

    >>> retry_after("7"), retry_after("3600"), retry_after("soon"), retry_after(None)
    (7.0, 60.0, None, None)
    >>> retry_after("Wed, 21 Oct 2015 07:28:00 GMT", datetime(2015, 10, 21, 7, 27, 50, tzinfo=UTC))
    10.0
    """
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), _LONGEST_RETRY_AFTER)
    at = parsed_date(value)
    if at is None:
        return None
    return min(max(0.0, (at - (now or datetime.now(UTC))).total_seconds()), _LONGEST_RETRY_AFTER)


def parsed_date(value: str | None) -> datetime | None:
    """An HTTP date, None where it is none.

    >>> parsed_date("Wed, 21 Oct 2015 07:28:00 GMT").isoformat(), parsed_date("yesterday")
    ('2015-10-21T07:28:00+00:00', None)
    """
    try:
        at = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _pause(state: RetryCallState) -> float:
    from tenacity import wait_exponential, wait_random

    error = state.outcome and state.outcome.exception()
    if not isinstance(error, FailedError):
        return 0.0
    if error.retry_after is not None:
        return error.retry_after
    return (wait_exponential(multiplier=0.2, max=error.longest) + wait_random(0, 0.2))(state)


def _same_server(asked: httpx.URL, onward: httpx.URL) -> None:
    """Raises FailedError unless a redirect stays on the server the key was meant for, or makes it safer."""
    same = (asked.scheme, asked.host, asked.port) == (onward.scheme, onward.host, onward.port)
    if not same and not (asked.host == onward.host and (asked.scheme, onward.scheme) == ("http", "https")):
        place = onward.host if onward.port is None else f"{onward.host}:{onward.port}"
        raise FailedError(_elsewhere(f"redirects to {place}, which is not sent the key"))


def _elsewhere(words: str) -> Failure:
    return Failure(words, Kind.DOWN, ConnectError, "set supabase.url to where the project is")


def _transport(error: httpx.HTTPError, *, known: bool) -> FailedError:
    """What went wrong on the way; `known` says whether this server has answered before."""
    import httpx

    kind = Kind.PAGE if known else Kind.DOWN
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return FailedError(Failure("gave no connection in time", kind, ConnectError, "is the project paused?"), 3)
    if isinstance(error, httpx.TimeoutException):
        return FailedError(Failure("gave no answer in time", kind, DeadlineError, "is the project paused?"), 3)
    if isinstance(error, httpx.ConnectError):
        return FailedError(Failure("cannot be reached", kind, ConnectError, "check supabase.url"), 4)
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError | httpx.DecodingError):
        words = f"broke off in the middle of an answer ({type(error).__name__})"
        return FailedError(Failure(words, kind, ConnectError, "try again later"), 6)
    return FailedError(Failure(type(error).__name__, Kind.DOWN, ConnectError, "check supabase.url"))
