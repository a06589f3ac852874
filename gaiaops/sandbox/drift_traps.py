"""People and rows that look like drift, or like test users, and are neither."""

from __future__ import annotations

from gaiaops.sandbox.drift_model import (
    ACTIVE_UNTIL,
    Account,
    Case,
    Seen,
    Trap,
    account,
    hashed_address,
    person,
    seed_uuid,
)

_LONG_DOMAIN = "@" + "subdomain." * 12 + "example.com"


def _long(tag: str) -> str:
    """An address of exactly 255 characters, which is all the column holds."""
    end = tag + _LONG_DOMAIN
    return "wolfeschlegelsteinhausenbergerdorff" + "x" * (255 - 35 - len(end)) + end


# Ordinary customers of production whose address a careless pattern takes for a test user's.
_ADDRESSES = (
    ("plus-alice", "Sam Okafor", "sam.okafor+alice@example.com", "a plus tag that is no environment"),
    ("plus-developer", "Lena Fischer", "lena.fischer+developer@example.com", "begins like an environment"),
    ("plus-dev2", "Omar Haddad", "omar.haddad+dev2@example.com", "begins like an environment"),
    ("dev-plus-x", "Devika Menon", "dev+x@example.com", "the environment is before the plus"),
    ("dev-then-x", "Ana Prado", "ana.prado+dev+newsletter@example.com", "only the last tag counts"),
    ("dev-domain", "Kit Marsh", "kit.marsh@dev.example.com", "the environment is in the domain"),
    ("no-plus-dev", "Rae Dev", "rae.dev@example.com", "a surname"),
    ("minus-dev", "Ola Nord", "ola-dev@example.com", "a hyphen is no plus"),
    ("underscore", "John Doe", "john_doe@example.com", "LIKE takes _ for any character"),
    ("no-underscore", "John Xavier Doe", "johnxdoe@example.com", "what john_doe matches in a LIKE"),
    ("percent", "Per Cent", "100%+dev%real@example.com", "LIKE takes % for anything"),
    ("backslash", "Back Slash", "back\\slash@example.org", "LIKE's escape character"),
    (
        "apostrophe",
        "Siobhán O'Brien",
        "siobhan.o'brien@example.com",
        "a quote that must be bound, not pasted",
    ),
    ("injection", "Robert'); DROP TABLE users;--", "bobby.tables@example.com", "SQL in a name"),
    ("quoted-plus-at", "John Quoted", '"john+dev@home"@example.com', "+dev@ inside a quoted local part"),
    ("quoted-plus", "Jane Quoted", '"jane+dev"@example.com', "the tag is dev with a quote"),
    (
        "dotless",
        "I\u015f\u0131l Y\u0131lmaz",
        "\u0131\u015f\u0131l.y\u0131lmaz@example.com",
        "Turkish dotless i, not isil.yilmaz",
    ),
    ("dotted", "Isil Yilmaz", "isil.yilmaz@example.com", "another person than the dotless one"),
    ("composed", "José Peral", "jos\u00e9.peral@example.com", "one code point for é"),
    (
        "decomposed",
        "José Peral",
        "jose\u0301.peral@example.com",
        "e and an accent: other bytes, other person",
    ),
    ("cjk", "王 小明", "小明@example.com", "no ASCII at all before the @"),
    ("rtl", "دينا سالم", "dina.salem@example.com", "a name written from right to left"),
    ("emoji", "Zoë 👩‍🚀", "zoe.astro@example.com", "joined emoji in a table column"),
    ("no-name", None, "no.name@example.com", "the name is NULL"),
    ("empty-name", "", "empty.name@example.com", "the name is an empty string"),
    ("null-word", "NULL", "null@example.com", "the name is the word NULL"),
    ("formula", "=1+2", "formula@example.com", "a spreadsheet would compute this name"),
    ("control-name", "Tab\there\nand\x1b[31m red", "control@example.com", "control characters in a name"),
    ("tab-address", "Bad Import", "bad\timport@example.com", "a tab in an address, from a bad import"),
    ("newline-address", "Bad Paste", "pasted@example.com\n", "a newline at the end, from a bad import"),
    ("longest", "Wolfeschlegelsteinhausenbergerdorff", _long(""), "255 characters"),
)

_PRODUCTION = tuple(
    person(slug, name, address, Seen("production", children=True), note=note)
    for slug, name, address, note in _ADDRESSES
)

_STATES = (
    person(
        "bannedquiet",
        "Axel Storm",
        "axel.storm@example.com",
        Seen("production"),
        auth=account("bannedquiet", "axel.storm@example.com", "Axel Storm", banned_until=ACTIVE_UNTIL),
        keys=(("production", "inactive"), ("production", "expired")),
        note="banned, and no key works any more: nothing to report",
    ),
    person(
        "banover",
        "Petra Kolb",
        "petra.kolb@example.com",
        Seen("production"),
        auth=account("banover", "petra.kolb@example.com", "Petra Kolb", banned_until="2026-02-01 00:00:00+00"),
        keys=(("production", "active"),),
        note="the ban is over: the key may work",
    ),
    person(
        "deletedquiet",
        "Noor Aziz",
        "noor.aziz@example.com",
        Seen("production"),
        auth=account("deletedquiet", hashed_address("noor.aziz@example.com"), None, deleted=True),
        note="soft-deleted, the profile remains, no key: the hashed address is not email drift",
    ),
    person(
        "deletedgone",
        None,
        "gone@example.com",
        auth=account("deletedgone", hashed_address("gone@example.com"), None, deleted=True),
        note="soft-deleted and in no environment",
    ),
    person(
        "anonymous",
        None,
        "",
        auth=account("anonymous", None, None, anonymous=True, provider="anonymous"),
        note="anonymous: no address, no profile",
    ),
    person(
        "phone",
        "Thandi Zulu",
        "+15550100@phone.example.net",
        Seen("production"),
        auth=account("phone", None, "Thandi Zulu", phone="15550100", provider="phone"),
        note="phone only: the profile's address is made up from the number",
    ),
    person(
        "phonenew",
        None,
        "",
        auth=account("phonenew", None, None, phone="15550101", provider="phone"),
        note="phone only, in no environment",
    ),
    person(
        "sso",
        "Ingrid Vik",
        "ingrid.vik@example.org",
        Seen("production", children=True),
        auth=account("sso", "ingrid.vik@example.org", "Ingrid Vik", sso=True, provider="sso"),
        note="came through single sign-on",
    ),
    person(
        "ssotwin-password",
        "Cleo Marin",
        "cleo.marin@example.org",
        Seen("production"),
        note="has a password record and, with the same address, a single sign-on record",
    ),
    person(
        "ssotwin",
        "Cleo Marin",
        "cleo.marin@example.org",
        auth=account("ssotwin", "cleo.marin@example.org", "Cleo Marin", sso=True, provider="sso"),
        note="the single sign-on record of somebody whose profile hangs on the other record",
    ),
    person(
        "longestdev",
        "Longest",
        _long("+dev"),
        Seen("dev"),
        note="255 characters with the tag at the end of the local part",
    ),
)

# Test users in production (declared as foreign, as they are) who are hard to remove whole.
_TESTERS = (
    person(
        "theo",
        "Theo Test",
        "theo.test+dev@example.com",
        Seen("dev"),
        Seen("production", children=True),
        finds=(("foreign-profile", "production"),),
        note="a test user with references by id as text and by address",
    ),
    person(
        "owner",
        "Quinn Tester",
        "quinn.tester+staging@example.com",
        Seen("staging"),
        Seen("production"),
        finds=(("foreign-profile", "production"),),
        note="a test user whose conversation holds another person's messages",
    ),
    person(
        "colleague",
        "Dana Real",
        "dana.real@example.com",
        Seen("production", children=True),
        note="wrote in a test user's conversation: collateral of a clean-up",
    ),
)

CASES: tuple[Case, ...] = (*_PRODUCTION, *_STATES, *_TESTERS)


def _person_trap(case: Case) -> Trap:
    where = case.profiles[-1].environment if case.profiles else "auth"
    record: Account | None = case.account
    address = case.profiles[-1].email if case.profiles else record.email if record else None
    return Trap(case.slug, where, seed_uuid(f"case:{case.slug}"), address, case.note)


TRAPS: tuple[Trap, ...] = tuple(_person_trap(case) for case in CASES)
