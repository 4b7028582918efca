"""The session that tests/clients.rs expects of every client, as psycopg 3 does it."""

import os
import sys

import psycopg
from psycopg.types import TypeInfo
from psycopg.types.composite import CompositeInfo
from psycopg.types.enum import EnumInfo
from psycopg.types.multirange import MultirangeInfo
from psycopg.types.range import RangeInfo
from psycopg_pool import ConnectionPool

TOKENS = {name: os.environ["PGC_" + name.upper()] for name in ("alice", "bob", "carol", "forged")}
SHARED = "select iban as psycopg_shared from masked.customers where id = %s"


def say(step, *words):
    print(step, *words, sep="\t", flush=True)


def identify(connection, person, extra=""):
    connection.execute(f"select custodian.set_identity(%s{extra})", [TOKENS[person]])


def answer(connection, query, *parameters):
    """The first column of all rows, or the SQLSTATE."""
    try:
        rows = connection.execute(query, parameters).fetchall()
    except psycopg.Error as error:
        return error.sqlstate
    return ",".join("null" if value is None else str(value) for (value,) in rows)


def iban(connection, tag):
    return answer(connection, f"select iban as psycopg_{tag} from masked.customers where id = 1")


def whoami(connection):
    return answer(connection, "select custodian.user_id()")


def shared(connection):
    # Behind the fifth execution psycopg prepares the statement on the server.
    return ",".join(answer(connection, SHARED, id) for _ in range(2) for id in (1, 2, 3, 4))


def one_session():
    with psycopg.connect(autocommit=True) as connection:
        say("connected", "ok")
        say("nobody", iban(connection, "nobody"))
        identify(connection, "alice")
        say("identified", whoami(connection))
        say("alice", iban(connection, "alice_reads"))
        say("prepared", shared(connection))
        with connection.transaction(force_rollback=True):
            say("in transaction", iban(connection, "alice_rolls_back"))
        say("rolled back", whoami(connection))
        try:
            with connection.transaction():
                say("fails", answer(connection, "select 1/0 as psycopg_alice_fails"))
                say("aborted", whoami(connection))
        except psycopg.Error:
            pass
        say("failed", whoami(connection))
        identify(connection, "bob")
        say("bob", iban(connection, "bob_reads"))
        say("prepared", shared(connection))
        identify(connection, "carol")
        say("carol", iban(connection, "carol_reads"))
        try:
            identify(connection, "forged")
        except psycopg.Error as error:
            say("forged", error.sqlstate)
        say("after forged", iban(connection, "nobody_after"))


def reset(connection):
    # Not DISCARD ALL: before 3.3 psycopg goes on to use the prepared statements that it drops.
    connection.execute("select custodian.clear_identity()")


def one_pool():
    arguments = {"autocommit": True}
    with ConnectionPool(kwargs=arguments, min_size=1, max_size=1, reset=reset, open=True) as pool:
        with pool.connection() as connection:
            identify(connection, "alice")
            say("pool alice", iban(connection, "alice_in_pool"), shared(connection))
        with pool.connection() as connection:
            say("pool nobody", iban(connection, "nobody_in_pool"))
            identify(connection, "bob")
            say("pool bob", iban(connection, "bob_in_pool"), shared(connection))
    with ConnectionPool(kwargs=arguments, min_size=1, max_size=1, open=True) as pool:
        with pool.connection() as connection, connection.transaction():
            identify(connection, "alice", ", for_transaction => true")
            say("transaction alice", iban(connection, "alice_for_transaction"))
        with pool.connection() as connection:
            say("transaction nobody", iban(connection, "nobody_for_transaction"))


def at_start():
    """Everything below was said when connecting."""
    with psycopg.connect(options="-c pg_custodian.token=" + TOKENS["alice"], autocommit=True) as connection:
        say("started", whoami(connection), iban(connection, "alice_started"))


def usual():
    """What programs do on a connection before anybody could identify."""
    for attributes in ("any", "read-write", "primary", "prefer-standby"):
        with psycopg.connect(target_session_attrs=attributes, application_name="usual", client_encoding="utf8") as c:
            say("target_session_attrs", attributes, "ok")
    with psycopg.connect(autocommit=True) as connection:
        for name, ask in {
            "isolation level": lambda: setattr(connection, "isolation_level", psycopg.IsolationLevel.REPEATABLE_READ),
            "read only": lambda: setattr(connection, "read_only", True),
            "transaction": lambda: connection.transaction().__enter__(),
            "rollback": lambda: connection.rollback(),
            "time zone": lambda: connection.execute("set time zone 'UTC'"),
            "pool's check": lambda: ConnectionPool.check_connection(connection),
            "type": lambda: TypeInfo.fetch(connection, "text"),
            "enum": lambda: EnumInfo.fetch(connection, "mood"),
            "composite": lambda: CompositeInfo.fetch(connection, "public.orders"),
            "range": lambda: RangeInfo.fetch(connection, "int4range"),
            "multirange": lambda: MultirangeInfo.fetch(connection, "int4multirange"),
            "SQLAlchemy's version": lambda: connection.execute("select pg_catalog.version()"),
            "SQLAlchemy's schema": lambda: connection.execute("select current_schema()"),
            "SQLAlchemy's strings": lambda: connection.execute("show standard_conforming_strings"),
            "SQLAlchemy's isolation": lambda: connection.execute("show transaction isolation level"),
        }.items():
            try:
                ask()
                say(name, "ok")
            except psycopg.Error as error:
                say(name, error.sqlstate)


if sys.argv[1:] == ["start"]:
    at_start()
elif sys.argv[1:] == ["usual"]:
    usual()
else:
    one_session()
    one_pool()
