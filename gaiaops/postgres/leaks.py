"""What a statement would leave behind on a connection that a transaction pooler hands to somebody else next.

On a connection of our own it would end with us. What ROLLBACK or COMMIT undoes is no leak: SET in a reading command,
SET LOCAL, a cursor without hold. What a function does inside is not seen. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gaiaops.errors import RefusedError
from gaiaops.postgres.guard import arguments, calls
from gaiaops.postgres.lexer import Statement, Token

# Neither COMMIT nor ROLLBACK undoes these.
_COMMANDS = {
    "PREPARE": "the statement stays there",
    "DEALLOCATE": "it may drop what others have prepared",
    "LOAD": "the code stays there",
    "DISCARD": "it drops what others have there",
}
_FUNCTIONS = re.compile(r"setseed|pg_(?:try_)?advisory_(?:lock|unlock)\w*", re.IGNORECASE)
_OF_THE_TRANSACTION = ("local", "transaction", "constraints")  # SET …: ends with the transaction
_TEMPORARY = ("temp", "temporary")
_BEFORE_KIND = ("or", "replace", "local", "global")
_HINT = "use the direct or the session port, or leave it out"


def refuse(statement: Statement, *, write: bool) -> None:
    """Raises RefusedError where a statement must not run through a transaction pooler.

    >>> from gaiaops.postgres.lexer import split
    >>> refuse(split("prepare p as select 1")[0], write=False)
    Traceback (most recent call last):
    gaiaops.errors.RefusedError: refused: PREPARE through a transaction pooler: the statement stays there
    """
    tokens = statement.tokens
    words = [token.text for token in tokens]
    if statement.keyword in _COMMANDS and words[:2] != ["prepare", "transaction"]:
        raise _refused(statement.keyword, _COMMANDS[statement.keyword])
    for index, name in calls(tokens):
        if _FUNCTIONS.fullmatch(name):
            raise _refused(name, "what it sets stays there")
        if write and name == "set_config" and _last(arguments(tokens, index)) != "true":
            raise _refused(name, "the setting stays there", "with true as its third argument it ends with the run")
    if write:
        _refuse_kept(statement.keyword, words)


def _refuse_kept(keyword: str, words: Sequence[str]) -> None:
    """What only COMMIT keeps."""
    if keyword == "RESET" or (keyword == "SET" and words[1:2] and words[1] not in _OF_THE_TRANSACTION):
        raise _refused(keyword, "the setting stays there", "SET LOCAL lasts as long as the run's one transaction")
    if keyword in ("LISTEN", "UNLISTEN"):
        raise _refused(keyword, "messages are for a session that stays")
    if keyword == "DECLARE" and _has(words, "with", "hold"):
        raise _refused("DECLARE … WITH HOLD", "the cursor stays there")
    kind = next((word for word in words[1:] if word not in _BEFORE_KIND), "")
    made = keyword == "CREATE" and (kind in _TEMPORARY or _has(words, "pg_temp", "."))
    into = any(_has(words, "into", word) for word in _TEMPORARY)
    if (made or into) and not _has(words, "on", "commit", "drop"):
        raise _refused("a temporary table", "it stays there", "CREATE TEMP TABLE … ON COMMIT DROP ends with the run")


def _has(words: Sequence[str], *wanted: str) -> bool:
    return any(tuple(words[i : i + len(wanted)]) == wanted for i in range(len(words)))


def _last(given: Sequence[Token]) -> str:
    return given[-1].text if given else ""


def _refused(what: str, why: str, hint: str = _HINT) -> RefusedError:
    return RefusedError(f"refused: {what} through a transaction pooler: {why}", hint=hint)
