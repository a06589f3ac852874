"""auth.users by SQL: the facts that hold for whoever reads the table itself."""

from __future__ import annotations

import psycopg
import pytest

from .rows import FUTURE, Rows


def test_the_columns_gaiaops_reads_are_there(rows: Rows) -> None:
    found = rows.connection.execute(
        """
        SELECT column_name, data_type, is_nullable FROM information_schema.columns
        WHERE table_schema = 'auth' AND table_name = 'users'
        """
    ).fetchall()
    instant = "timestamp with time zone"
    assert {
        ("id", "uuid", "NO"),
        ("instance_id", "uuid", "YES"),
        ("aud", "character varying", "YES"),
        ("email", "character varying", "YES"),
        ("email_confirmed_at", instant, "YES"),
        ("banned_until", instant, "YES"),
        ("deleted_at", instant, "YES"),
        ("last_sign_in_at", instant, "YES"),
        ("created_at", instant, "YES"),
        ("raw_app_meta_data", "jsonb", "YES"),
        ("is_sso_user", "boolean", "NO"),
        ("is_anonymous", "boolean", "NO"),
    } <= set(found)


def test_an_address_is_unique_among_ordinary_users(rows: Rows) -> None:
    rows.insert(email=rows.email("one"))
    with pytest.raises(psycopg.errors.UniqueViolation):
        rows.insert(email=rows.email("one"))


def test_single_sign_on_users_may_share_an_address(rows: Rows) -> None:
    rows.insert(email=rows.email("one"))
    rows.insert(email=rows.email("one"), is_sso_user=True)
    rows.insert(email=rows.email("one"), is_sso_user=True)


def test_addresses_that_differ_by_case_are_different(rows: Rows) -> None:
    rows.insert(email=rows.email("jason"))
    rows.insert(email=rows.email("Jason"))


def test_any_number_of_users_have_no_address(rows: Rows) -> None:
    rows.insert(email=None, phone="4915100000011")
    rows.insert(email=None, is_anonymous=True)
    rows.insert(email=None, is_anonymous=True)
    with pytest.raises(psycopg.errors.UniqueViolation):
        rows.insert(email=None, phone="4915100000011")


def test_a_token_is_unique_and_an_empty_one_is_not(rows: Rows) -> None:
    rows.insert(recovery_token="a-token")
    rows.insert(recovery_token="123456")
    rows.insert(recovery_token="123456")
    with pytest.raises(psycopg.errors.UniqueViolation):
        rows.insert(recovery_token="a-token")


def test_confirmed_at_is_the_earlier_confirmation(rows: Rows) -> None:
    user = rows.fetch(rows.insert(email_confirmed_at=FUTURE, phone_confirmed_at=None))
    assert user["confirmed_at"] == FUTURE


def test_columns_left_out_are_null_where_the_server_does_not_expect_it(rows: Rows) -> None:
    cursor = rows.connection.execute(
        "INSERT INTO auth.users (id, email) VALUES (gen_random_uuid(), %s) RETURNING id::text",
        (rows.email("bare"),),
    )
    inserted = cursor.fetchone()
    assert inserted is not None
    user = rows.fetch(rows.forget(inserted[0]))
    unexpected = {"created_at", "updated_at", "role", "confirmation_token", "recovery_token", "email_change",
                  "email_change_token_new"}  # fmt: skip
    assert {column for column in unexpected if user[column] is None} == unexpected
    assert (user["phone_change"], user["reauthentication_token"], user["email_change_token_current"]) == (
        "",
        "",
        "",
    )


def test_no_index_gives_tied_users_an_order(rows: Rows) -> None:
    # With one, the list would never repeat or lose a user of a bulk import.
    found = rows.connection.execute(
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'auth' AND tablename = 'users'"
        " AND indexdef ~ '\\(created_at'"
    )
    assert found.fetchall() == []
