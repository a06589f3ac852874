"""One person as text and as a document with stable field names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gaiaops.output.audit import evidence_text
from gaiaops.output.cells import label
from gaiaops.output.report import table


def profile_document(profile: Mapping[str, Any]) -> dict[str, Any]:
    """A profile with its cache entries as objects; what is said of shards only where there are some."""
    cache = [{"key": key, "ttl_s": None if ttl < 0 else ttl} for key, ttl in profile["cache"]]
    return {**(profile if profile["shards"] else without_shards(profile)), "cache": cache}


def without_shards(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document of an environment that has none."""
    return {name: value for name, value in document.items() if name not in ("shards", "rows_by_shard")}


def person_text(person: Mapping[str, Any]) -> str:
    """Everything about one person, for people."""
    return "\n".join(_lines(person))


def _lines(person: Mapping[str, Any]) -> Iterator[str]:
    yield from _auth(person)
    for place in person["environments"]:
        if place["profiles"]:
            yield ""
        yield from _place(place)
    if person["findings"]:
        yield "\nfindings"
        for one in person["findings"]:
            where = f" [{one['environment']}]" if one["environment"] else ""
            yield f"  {one['severity']}: {one['kind']}{where} {label(evidence_text(one['evidence']))}"
            if one["command"] and not one["command"].startswith("gaiaops whois"):
                yield f"    {label(one['command'])}"


def _auth(person: Mapping[str, Any]) -> Iterator[str]:
    if not person["source"]:
        yield "supabase: could not be read"
    elif not person["auth"]:
        yield f"supabase ({person['source']}): no auth record"
    for record in person["auth"]:
        yield f"supabase ({person['source']}): {record['id']}  {label(record['address']) or 'no address'}"
        states = [
            "soft-deleted " + record["deleted_at"] if record["deleted_at"] else "",
            "banned until " + record["banned_until"] if record["banned_until"] else "",
            "anonymous" if record["anonymous"] else "",
            "single sign-on" if record["single_sign_on"] else "",
            "" if record["confirmed_at"] or not record["address"] else "address not confirmed",
        ]
        if any(states):
            yield f"  {', '.join(filter(None, states))}"
        times = (("created", "created_at"), ("confirmed", "confirmed_at"), ("last sign-in", "last_sign_in_at"))
        shown = [f"{name} {record[field][:19]}" for name, field in times if record[field]]
        if shown:
            yield f"  {', '.join(shown)}"


def _place(place: Mapping[str, Any]) -> Iterator[str]:
    name = place["environment"]
    for error in place["errors"]:
        yield f"{name}: {error}"
    if not place["profiles"] and not place["errors"]:
        yield f"{name}: no profile"
    for profile in place["profiles"]:
        where = "/".join(filter(None, (name, ",".join(profile.get("shards", ())))))
        yield f"{where}: {profile['id']}  {label(profile['address'])}  {label(profile['name'] or '')}".rstrip()
        if profile["created_at"]:
            yield f"  created {profile['created_at'][:19]}"
        if profile["keys"]:
            rows = [
                (key["prefix"], label(key["name"] or ""), key["state"], (key["last_used_at"] or "never")[:19])
                for key in profile["keys"]
            ]
            yield _indented(table(["key", "name", "state", "last used"], rows))
        yield from _counts(profile)
        if profile["cache"]:
            left = [(label(e["key"]), "never" if e["ttl_s"] is None else f"{e['ttl_s']} s") for e in profile["cache"]]
            yield _indented(table(["Redis key", "expires in"], left, right=[1]))
    yield from _counts(place)


def _counts(of: Mapping[str, Any]) -> Iterator[str]:
    """The rows that refer to a profile or name a person, by shard where there are some."""
    places = {f" in {shard}": rows for shard, rows in of.get("rows_by_shard", {}).items()} or {"": of["rows"]}
    for where, rows in places.items():
        if rows:
            yield f"  rows{where}: {', '.join(f'{name} {count}' for name, count in rows.items())}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
