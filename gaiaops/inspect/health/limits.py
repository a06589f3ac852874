"""The thresholds of an environment: the checks' own, the registry's, and its own there. Pure."""

from __future__ import annotations

import re

import msgspec

from gaiaops.errors import UsageError
from gaiaops.inspect.health.checks import ALL, BY_NAME, Spec
from gaiaops.registry.durations import parse_age, parse_duration
from gaiaops.registry.model import Environment, Registry, Threshold

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)\s*")
_UNITS = ("B", "kB", "MB", "GB", "TB")  # PostgreSQL's: each is 1024 of the one before (manual 19.1.1)


def of_environment(registry: Registry, env: Environment | None) -> tuple[Spec, ...]:
    """The checks to make in an environment (None: of what all share), with the thresholds that count there.

    Raises UsageError with the file's name and the key path for a check that is not there or a threshold that is none.
    """
    specs = list(ALL)
    own = env.health if env is not None else {}
    where = f"environments.{env.name}.health" if env is not None else ""
    for path, thresholds in (("health", registry.health.thresholds), (where, own)):
        for name, threshold in thresholds.items():
            if name not in BY_NAME:
                raise _bad(registry, f"{path}.{name}", f"no such check; there are {', '.join(BY_NAME)}")
            specs = [_changed(registry, f"{path}.{name}", spec, threshold) if spec.name == name else spec
                     for spec in specs]  # fmt: skip
    gone = {name for name, one in {**registry.health.thresholds, **own}.items() if one.off}
    return tuple(spec for spec in specs if spec.name not in gone)


def _changed(registry: Registry, path: str, spec: Spec, threshold: Threshold) -> Spec:
    found = {}
    for key, given, own in (("warn", threshold.warn, spec.warn), ("critical", threshold.critical, spec.critical)):
        try:
            found[key] = own if given is None else parsed(given, spec.unit)
        except ValueError as error:
            raise _bad(registry, f"{path}.{key}", str(error)) from None
    return msgspec.structs.replace(spec, **found)


def parsed(given: float | str, unit: str) -> float | None:
    """A threshold in the unit of its check; "never" is None.

    >>> parsed("5min", "s"), parsed("250ms", "ms"), parsed("2GB", "bytes"), parsed("80%", "%"), parsed("never", "%")
    (300.0, 250.0, 2147483648.0, 80.0, None)

    Raises ValueError.
    """
    if not isinstance(given, str):
        return float(given)
    text = given.strip()
    if text == "never":
        return None
    if unit == "s" and text[-1:].isalpha():
        return parse_age(text) / 1000 if text[-1] in "dwy" else parse_duration(text) / 1000
    if unit == "ms" and text[-1:].isalpha():
        return float(parse_duration(text))
    if unit.startswith("bytes") and (match := _SIZE.fullmatch(text)):
        return float(match[1]) * float(1024 ** _UNITS.index(match[2]))
    try:
        return float(text.removesuffix("%") if unit.startswith("%") else text)
    except ValueError:
        raise ValueError(f'not a threshold in {unit}: "{given}" (a number, or "never")') from None


def _bad(registry: Registry, path: str, reason: str) -> UsageError:
    return UsageError(f"{registry.file.name}: {path}: {reason}", hint=f"edit {registry.file}")
