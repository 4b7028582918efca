//! What the holder of the password can do on a role that needs a person: what drivers, tools and
//! poolers do when they connect, and nothing by which one learns what is in the database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::{assert_refused, custodian, refusal, shop, text};
use postgres::error::SqlState;

const NO_PERSON: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;

/// What Npgsql asks when it connects (PostgresDatabaseInfo.cs), shortened by comments and casts only.
const NPGSQL: &str = "
SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid
FROM (
    SELECT
        typ.oid, typ.typnamespace, typ.typname, typ.typtype, typ.typrelid, typ.typnotnull, typ.relkind,
        elemtyp.oid AS elemtypoid, elemtyp.typname AS elemtypname, elemcls.relkind AS elemrelkind,
        CASE WHEN elemproc.proname='array_recv' THEN 'a' ELSE elemtyp.typtype END AS elemtyptype
    FROM (
        SELECT typ.oid, typnamespace, typname, typrelid, typnotnull, relkind, typelem AS elemoid,
            CASE WHEN proc.proname='array_recv' THEN 'a' ELSE typ.typtype END AS typtype,
            CASE
                WHEN proc.proname='array_recv' THEN typ.typelem
                WHEN typ.typtype='r' THEN rngsubtype
                WHEN typ.typtype='m' THEN (SELECT rngtypid FROM pg_range WHERE rngmultitypid = typ.oid)
                WHEN typ.typtype='d' THEN typ.typbasetype
            END AS elemtypoid
        FROM pg_type AS typ
        LEFT JOIN pg_class AS cls ON (cls.oid = typ.typrelid)
        LEFT JOIN pg_proc AS proc ON proc.oid = typ.typreceive
        LEFT JOIN pg_range ON (pg_range.rngtypid = typ.oid)
    ) AS typ
    LEFT JOIN pg_type AS elemtyp ON elemtyp.oid = elemtypoid
    LEFT JOIN pg_class AS elemcls ON (elemcls.oid = elemtyp.typrelid)
    LEFT JOIN pg_proc AS elemproc ON elemproc.oid = elemtyp.typreceive
) AS t
JOIN pg_namespace AS ns ON (ns.oid = typnamespace)
WHERE
    typtype IN ('b', 'r', 'm', 'e', 'd') OR
    (typtype = 'c' AND relkind='c') OR
    (typtype = 'p' AND typname IN ('record', 'void', 'unknown')) OR
    (typtype = 'a' AND (
        elemtyptype IN ('b', 'r', 'm', 'e', 'd') OR
        (elemtyptype = 'p' AND elemtypname IN ('record', 'void')) OR
        (elemtyptype = 'c' AND elemrelkind='c')
    ))
ORDER BY CASE
       WHEN typtype IN ('b', 'e', 'p') THEN 0
       WHEN typtype = 'r' THEN 1
       WHEN typtype = 'm' THEN 2
       WHEN typtype = 'c' THEN 3
       WHEN typtype = 'd' AND elemtyptype <> 'a' THEN 4
       WHEN typtype = 'a' THEN 5
       WHEN typtype = 'd' AND elemtyptype = 'a' THEN 6
END";

#[test]
fn drivers_tools_and_poolers_can_connect() {
    let shop = shop::open("identify");
    let mut client = shop.readonly();
    for statement in [
        NPGSQL,
        // Npgsql, composites and enums
        "SELECT typ.oid, att.attname, att.atttypid FROM pg_type AS typ
         JOIN pg_namespace AS ns ON (ns.oid = typ.typnamespace)
         JOIN pg_class AS cls ON (cls.oid = typ.typrelid) JOIN pg_attribute AS att ON (att.attrelid = typ.typrelid)
         WHERE (typ.typtype = 'c' AND cls.relkind='c') AND attnum > 0 AND NOT attisdropped
         ORDER BY typ.oid, att.attnum",
        "SELECT pg_type.oid, enumlabel FROM pg_enum JOIN pg_type ON pg_type.oid=enumtypid ORDER BY oid, enumsortorder",
        // pgjdbc
        "SET extra_float_digits = 3",
        "SET application_name = 'PostgreSQL JDBC Driver'",
        "SELECT n.nspname = ANY(current_schemas(true)), n.nspname, t.typname FROM pg_catalog.pg_type t
         JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = 25",
        "SHOW TRANSACTION ISOLATION LEVEL",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        // SQLAlchemy
        "select pg_catalog.version()",
        "select current_schema()",
        "show standard_conforming_strings",
        "SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'",
        // psycopg's TypeInfo.fetch
        "SELECT typname AS name, oid, typarray AS array_oid, oid::regtype::text AS regtype, typdelim AS delimiter
         FROM pg_type t WHERE t.oid = to_regtype('bool') ORDER BY t.oid",
        // rust-postgres
        "SELECT t.typname, t.typtype, t.typelem, r.rngsubtype, t.typbasetype, n.nspname, t.typrelid
         FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
         INNER JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = 25",
        // Rails
        "SET client_min_messages TO 'warning'",
        "SET SESSION timezone TO 'UTC'",
        "SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput, r.rngsubtype, t.typtype, t.typbasetype
         FROM pg_type as t LEFT JOIN pg_range as r ON oid = rngtypid WHERE t.typname IN ('int2', 'int4') OR t.typtype IN ('r', 'e')",
        "SHOW max_identifier_length",
        // DBeaver
        "SELECT current_schema(),session_user",
        "SHOW search_path",
        // health checks and resets of poolers; the last of all, which ends what was set
        "",
        "select 1",
        "select 1;",
        "select 'ok'",
        "select true as alive, 7",
        "begin; select 1; rollback",
        "reset role",
        "reset session authorization",
        "reset all",
        "discard all",
    ] {
        client.simple_query(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    assert!(client.query("select 1 from public.orders where id = $1", &[&1_i64]).is_err());
    assert!(client.query("select $1::text", &[&"alive"]).is_ok());
    // The checks of a pool are on record like everything else.
    assert_eq!(shop.the_record("as alive, 7").outcome(), "ok");
}

#[test]
fn catalogs_give_names_and_no_contents() {
    let shop = shop::open("identify");
    shop.admin()
        .batch_execute(
            // The default of a column that was added later is data in pg_attribute.
            "alter table public.customers add column pin text default '4711';
             create function public.secret() returns text language sql as 'select ''in the text''';
             create function public.same(name, name) returns boolean language sql as 'select true';
             create operator public.=== (function = public.same, leftarg = name, rightarg = name);
             create domain public.checked as text check (public.secret() <> value);
             create view public.view_of_types as select * from pg_catalog.pg_type;
             grant select on public.view_of_types to readonly;",
        )
        .unwrap();
    let mut thief = shop.readonly();
    for statement in [
        "select attmissingval from pg_attribute where atthasmissing",
        "select * from pg_attribute",
        "select a from pg_attribute a",
        "select count(*) from pg_attribute",
        "select 1 from pg_attribute where attmissingval::text like '{4711%'",
        "select 1 from pg_attribute order by attmissingval::text",
        "select a.attname from pg_attribute a join pg_attribute b on a.attmissingval::text = b.attmissingval::text",
        "select (select attmissingval from pg_attribute where atthasmissing limit 1)",
        "select * from pg_type",
        "select typdefault from pg_type",
        "select prosrc from pg_proc",
        "select proname, proacl from pg_proc",
        "select reltuples, relacl from pg_class",
        "select * from pg_class",
        "select relname, ctid from pg_class",
        "select nspacl from pg_namespace",
        "select typname from pg_type where typname === 'bool'",
        "select typname::public.checked from pg_type",
        "select 'x'::public.checked",
        "select public.secret()",
        "select typname from public.view_of_types",
        "select typname from pg_type, public.secret()",
        "select typname from pg_type where exists (select from public.orders)",
        "select typname from pg_type for update",
        "with t as (select typname from pg_type) select * from t",
        "select typname from pg_type tablesample system (100)",
        "select typname from pg_type union select email from public.customers",
        "select string_agg(typname, ',') from pg_type",
        "select row_number() over () from pg_type",
        "select * from pg_settings",
        "select * from pg_stat_activity",
        "select * from pg_stats",
        "select rolname from pg_roles",
        "select datname from pg_database",
        "select description from pg_description",
        "select table_name from information_schema.tables",
        "select pg_get_functiondef('public.secret'::regproc)",
        "select pg_get_viewdef('public.view_of_types')",
        "select current_setting('archive_command')",
        "select set_config('role', 'postgres', false)",
        "select pg_read_file('postgresql.conf')",
        "select pg_sleep(100)",
        "select 1 from generate_series(1, 1000000000)",
        "select lo_get(1)",
        "select (custodian.set_identity('x')).user_id, email from public.customers",
        "table pg_type",
        "values (public.secret())",
    ] {
        assert_refused(thief.simple_query(statement), &NO_PERSON);
    }
}

#[test]
fn only_the_manners_of_the_session_can_be_set_or_shown() {
    let shop = shop::open_on(
        custodian().conf("max_prepared_transactions = 2").conf("archive_command = 'key=4711'"),
        "identify",
    );
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "alter database shop set app.jwt_secret = '4711'; create role other; grant other to readonly;
             grant insert on public.orders to readonly;",
        )
        .unwrap();
    let mut alice = shop.person("alice", &[]);
    // She may, as ever.
    assert_eq!(text(&mut alice, "show app.jwt_secret").as_deref(), Some("4711"));
    alice
        .batch_execute("begin; insert into public.orders values (100, 1, 1); prepare transaction 'hers'")
        .unwrap();
    let mut thief = shop.readonly();
    for statement in [
        "show app.jwt_secret",
        "show all",
        "show archive_command",
        "show wal_level",
        "show port",
        "set role other",
        "set session authorization readonly",
        "set app.note = 'x'",
        "set debug_print_plan = on",
        "set log_parameter_max_length_on_error = -1",
        "set work_mem = '1GB'",
        "set jit_provider = 'x'",
        "set local_preload_libraries = 'x'",
        "set constraints all immediate",
        "set transaction snapshot '00000003-0000001B-1'",
        "commit prepared 'hers'",
        "rollback prepared 'hers'",
        "listen news",
        "notify news",
        "load 'pg_stat_statements'",
        "prepare p as select 1",
        "explain select 1",
        "copy (select 1) to stdout",
        "declare c cursor for select 1",
        "create temp table t as select 1",
        "select 1 into temp t",
        "lock table pg_type",
        "checkpoint",
    ] {
        assert_refused(thief.simple_query(statement), &NO_PERSON);
        let _ = thief.simple_query("rollback");
    }
    let error = refusal(thief.simple_query("begin; select now(); prepare transaction 'his'"));
    assert_eq!(error.code(), &NO_PERSON);
    let left = "select count(*)::text from pg_prepared_xacts where gid = 'hers'";
    assert_eq!(text(&mut admin, left).as_deref(), Some("1"));
    alice.batch_execute("rollback prepared 'hers'").unwrap();
}
