"""The planted drift, case by case. What each kind means here is said in `drift.MEANINGS`."""

from __future__ import annotations

from gaiaops.sandbox.drift_model import (
    ACTIVE_UNTIL,
    Case,
    KeyState,
    Kind,
    Seen,
    account,
    hashed_address,
    person,
)


def _banned(slug: str, name: str, address: str, environment: str, *more: KeyState) -> Case:
    return person(
        slug,
        name,
        address,
        Seen(environment),
        auth=account(slug, address, name, banned_until=ACTIVE_UNTIL),
        keys=((environment, "active"), *((environment, state) for state in more)),
        finds=(("revoked-access", environment),),
        note="banned in Supabase, a key still works",
    )


def _deleted(slug: str, name: str, address: str, environment: str) -> Case:
    return person(
        slug,
        name,
        address,
        Seen(environment),
        auth=account(slug, hashed_address(address), None, deleted=True),
        keys=((environment, "active"),),
        finds=(("revoked-access", environment),),
        note="soft-deleted in Supabase, a key still works",
    )


_REVOKED = (
    _banned("marcus", "Marcus Holt", "marcus.holt@example.com", "production", "expired"),
    _banned("bianca", "Bianca Rossi", "bianca.rossi+dev@example.com", "dev"),
    _deleted("irene", "Irene Castellan", "irene.castellan@example.com", "production"),
    _deleted("tobias", "Tobias Lund", "tobias.lund+staging@example.org", "staging"),
)


def _orphan(slug: str, name: str, address: str, environment: str, *, key: bool = False) -> Case:
    revoked: tuple[tuple[Kind, str], ...] = (("revoked-access", environment),) if key else ()
    return person(
        slug,
        name,
        address,
        Seen(environment),
        auth=None,
        keys=((environment, "active"),) if key else (),
        finds=(("orphan-profile", environment), *revoked),
        note="hard-deleted in Supabase; the profile remains" + (", and a working key" if key else ""),
    )


_ORPHANS = (
    _orphan("contractor", "Rupert Vance", "rupert.vance@example.org", "production", key=True),
    _orphan("departed", "Gwen Ostrander", "gwen.ostrander@example.com", "production"),
    _orphan("devghost", "Pia Lindqvist", "pia.lindqvist+dev@example.com", "dev", key=True),
    _orphan("devgone", "Ravi Menon", "ravi.menon+dev@example.net", "dev"),
    _orphan("stagegone", "Hilde Berg", "hilde.berg+staging@example.com", "staging"),
    _orphan("localgone", "Test Person", "test.person+local@example.com", "local"),
)


def _moved(slug: str, name: str, before: str, now: str, environment: str) -> Case:
    return person(
        slug,
        name,
        now,
        Seen(environment, address=before),
        finds=(("email-drift", environment),),
        note="changed the address in Supabase; the profile kept the old one",
    )


_DRIFTED = (
    _moved("married", "Tessa Quill", "tessa.brook@example.com", "tessa.quill@example.com", "production"),
    _moved("jobchange", "Dario Conti", "dario@example.net", "dario.conti@example.com", "production"),
    _moved("devmove", "Wen Jiayi", "jiayi+dev@example.com", "wen.jiayi+dev@example.com", "dev"),
    _moved("stagemove", "Åsa Öberg", "asa+staging@example.org", "åsa.öberg+staging@example.org", "staging"),
)


def _twice(slug: str, name: str, address: str, other: str, environment: str) -> Case:
    return person(
        slug,
        name,
        address,
        Seen(environment),
        Seen(environment, address=other, own_id=True),
        finds=(("duplicate-profile", environment),),
        note="signed up twice with different capitals; the second profile has no record of its own",
    )


_DUPLICATES = (
    _twice("sarakim", "Sara Kim", "sara.kim@example.com", "Sara.Kim@example.com", "production"),
    _twice("jonas", "Jonas Weber", "jonas.weber+dev@example.com", "jonas.weber+dev@Example.com", "dev"),
    _twice("elif", "Elif Demir", "elif.demir+staging@example.com", "ELIF.DEMIR+STAGING@EXAMPLE.COM", "staging"),
)


def _foreign(slug: str, name: str, address: str, home: str, elsewhere: str) -> Case:
    return person(
        slug,
        name,
        address,
        Seen(home),
        Seen(elsewhere),
        finds=(("foreign-profile", elsewhere),),
        note=f"a {home} user who has logged in to {elsewhere} too",
    )


_FOREIGN = (
    _foreign("stagedev", "Milo Hart", "milo.hart+staging@example.com", "staging", "dev"),
    _foreign("localdev", "Uma Nair", "uma.nair+local@example.com", "local", "dev"),
    _foreign("devstage", "Finn Doyle", "finn.doyle+dev@example.com", "dev", "staging"),
    _foreign("devlocal", "Ayumi Mori", "ayumi.mori+dev@example.com", "dev", "local"),
    _foreign("locprod", "Ines Pardo", "ines.pardo+local@example.com", "local", "production"),
    person(
        "karl",
        "Karl Voss",
        "karl.voss+dev@example.com",
        Seen("dev"),
        Seen("production", address="karl.voss+Dev@example.com"),
        finds=(("foreign-profile", "production"), ("case-drift", "production")),
        note="the tag is written +Dev in production: tags are compared case-folded",
    ),
)


def _homeless(slug: str, name: str, address: str, home: str, elsewhere: str) -> Case:
    kind: Kind = "untagged-profile" if home == "production" else "foreign-profile"
    return person(
        slug,
        name,
        address,
        Seen(elsewhere),
        finds=(("missing-profile", home), (kind, elsewhere)),
        note=f"belongs to {home}, has a profile only in {elsewhere}",
    )


_MISSING = (
    _homeless("devinprod", "Nadia Petrov", "nadia.petrov+dev@example.com", "dev", "production"),
    _homeless("stginprod", "Leo Fontaine", "leo.fontaine+staging@example.com", "staging", "production"),
    _homeless("stgindev", "Ada Kovács", "ada.kovacs+staging@example.com", "staging", "dev"),
    _homeless("locinstg", "Sven Aalto", "sven.aalto+local@example.com", "local", "staging"),
    _homeless("prodindev", "Ruth Abara", "ruth.abara@example.com", "production", "dev"),
)


def _scripted(slug: str, name: str, address: str, environment: str) -> Case:
    return person(
        slug,
        name,
        address,
        Seen(environment, own_id=True),
        finds=(("id-mismatch", environment),),
        note="seeded by a script: the profile has an id of its own and agrees by address",
    )


_MISMATCHED = (
    _scripted("jasonlocal", "Jason", "jason+local@example.com", "local"),
    _scripted("evalocal", "Eva Sample", "eva.sample+local@example.com", "local"),
    _scripted("botlocal", "Load Bot", "load.bot+local@example.com", "local"),
    _scripted("jasondev", "Jason", "jason+dev@example.com", "dev"),
    _scripted("jasonstg", "Jason", "jason+staging@example.com", "staging"),
    _scripted("jasonprod", "Jason", "jason@example.com", "production"),
)


def _absent(slug: str, name: str | None, address: str, note: str, *, confirmed: bool = True) -> Case:
    record = account(slug, address, name, confirmed=confirmed)
    return person(slug, name, address, auth=record, finds=(("unprovisioned", ""),), note=note)


_UNPROVISIONED = (
    _absent("nevercame", "Pilar Robles", "pilar.robles@example.com", "registered, never opened the product"),
    _absent("nevercamedev", "Otis Bell", "otis.bell+dev@example.com", "registered for dev, never opened it"),
    _absent("spammer", None, "qx7f3k@example.net", "never confirmed, never came", confirmed=False),
)


def _untagged(slug: str, name: str, address: str, environment: str) -> Case:
    return person(
        slug,
        name,
        address,
        Seen("production"),
        Seen(environment),
        finds=(("untagged-profile", environment),),
        note=f"a real address in {environment}",
    )


_UNTAGGED = (
    _untagged("ceo", "Victoria Amsel", "victoria.amsel@example.com", "dev"),
    _untagged("cto", "Bruno Sá", "bruno.sa@example.com", "dev"),
    _untagged("tester", "Kaya Stone", "kaya.stone+beta@example.com", "staging"),
    _untagged("founder", "Gita Rao", "gita.rao@example.org", "local"),
)


def _cased(slug: str, name: str, auth: str, profile: str, environment: str) -> Case:
    return person(
        slug,
        name,
        auth,
        Seen(environment, address=profile),
        finds=(("case-drift", environment),),
        note="the same address in other capitals",
    )


_CASED = (
    _cased("olivia", "Olivia Brandt", "olivia.brandt@example.com", "Olivia.Brandt@example.com", "production"),
    _cased("import", "Pavel Nový", "Pavel.Novy+dev@Example.COM", "pavel.novy+dev@example.com", "dev"),
    _cased(
        "elodie",
        "Élodie Caron",
        "élodie.caron+staging@example.com",
        "Élodie.Caron+staging@example.com",
        "staging",
    ),
    _cased("nina", "Nina Roth", "nina.roth+local@example.com", "nina.roth+LOCAL@example.com", "local"),
)


def _unconfirmed(slug: str, name: str, address: str, environment: str) -> Case:
    return person(
        slug,
        name,
        address,
        Seen(environment),
        auth=account(slug, address, name, confirmed=False),
        finds=(("unconfirmed-profile", environment),),
        note="has a profile, never confirmed the address",
    )


_UNCONFIRMED = (
    _unconfirmed("hasty", "Mona Field", "mona.field@example.com", "production"),
    _unconfirmed("typo", "Greg Paulsen", "greg.paulsen@example.net", "production"),
    _unconfirmed("devhasty", "Lin Zhao", "lin.zhao+dev@example.com", "dev"),
    _unconfirmed("stghasty", "Edda Falk", "edda.falk+staging@example.com", "staging"),
)


def _ambiguous(slug: str, name: str, address: str, environment: str) -> Case:
    return person(
        slug,
        name,
        address,
        Seen(environment, children=True),
        finds=(("ambiguous-address", environment),),
        note="two environment tags: reported, never deleted",
    )


_AMBIGUOUS = (
    _ambiguous("twotags", "Priya Raman", "priya.raman+dev+staging@example.com", "dev"),
    _ambiguous("twotagsprod", "Hugo Lind", "hugo.lind+staging+dev@example.com", "production"),
    _ambiguous("twotagsstg", "Mara Zell", "mara.zell+local+Staging@example.com", "staging"),
)

CASES: tuple[Case, ...] = (
    *_REVOKED,
    *_ORPHANS,
    *_DRIFTED,
    *_DUPLICATES,
    *_FOREIGN,
    *_MISSING,
    *_MISMATCHED,
    *_UNPROVISIONED,
    *_UNTAGGED,
    *_CASED,
    *_UNCONFIRMED,
    *_AMBIGUOUS,
)
