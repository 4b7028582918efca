//! Passwords and connection strings are in no event: neither in the ledger nor in the journal's files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, sync};
use harness::token::random_text;
use std::fs;

/// Ways to say a password, each with `{}` in its place, and what of them has to be left.
const FORMS: &[(&str, &str)] = &[
    (
        "create role r1 login password '{}' valid until '2031-01-01'",
        "create role r1 login password <secret> valid until '2031-01-01'",
    ),
    ("alter role r1 encrypted PassWord $a${}$a$", "alter role r1 encrypted PassWord <secret>"),
    (
        "ALTER USER r1 PASSWORD /* a 'comment' */ E'{}\\n'",
        "ALTER USER r1 PASSWORD /* a 'comment' */ <secret>",
    ),
    ("alter role r1 password\n-- don't\nU&'{}\\0041'", "alter role r1 password\n-- don't\n<secret>"),
    (
        "alter role r1 with password '{}'\n'and more' connection limit 5",
        "alter role r1 with password <secret> connection limit 5",
    ),
    ("create user r2 password '{}'; alter user r2 nologin", "create user r2 password <secret>"),
    ("alter role nobody_there password '{}'", "alter role nobody_there password <secret>"),
    ("create group r3 password '{}'", "create group r3 password <secret>"),
    ("do $$ begin execute format('alter role r1 password %L', '{}'); end $$", "do <secret>"),
    ("do $$ begin alter role r1 password '{}'; end $$", "do <secret>"),
    (
        "create function public.f1() returns void language plpgsql as 'begin alter role r1 password ''{}''; end'",
        "create function public.f1() returns void language plpgsql as <secret>",
    ),
    (
        "create foreign data wrapper w1 options (secret '{}')",
        "create foreign data wrapper w1 options (secret <secret>)",
    ),
    (
        "create server s1 foreign data wrapper w1 options (host 'h', token '{}')",
        "create server s1 foreign data wrapper w1 options (host <secret>, token <secret>)",
    ),
    ("alter server s1 options (set token '{}')", "alter server s1 options (set token <secret>)"),
    (
        "create user mapping for r1 server s1 options (user 'u', password '{}')",
        "create user mapping for r1 server s1 options (user <secret>, password <secret>)",
    ),
    (
        "alter user mapping for r1 server s1 options (set password '{}')",
        "alter user mapping for r1 server s1 options (set password <secret>)",
    ),
    (
        "create subscription sub1 connection 'host=localhost password={}' publication p with (connect = false)",
        "create subscription sub1 connection <secret> publication p with (connect = false)",
    ),
    (
        "alter subscription sub1 connection 'host=localhost password={}'",
        "alter subscription sub1 connection <secret>",
    ),
    ("select 'host=x password={}' as dblink", "select <secret> as dblink"),
    ("select 'postgresql://bob:{}@db/x' as dblink, 'kept'", "select <secret> as dblink, 'kept'"),
    ("select format('alter role x password %L', '{}'), 1", "select format(<secret>, <secret>), 1"),
    ("select 'alter role x password ' || quote_literal('{}')", "select <secret> || quote_literal(<secret>)"),
    ("prepare p1 as select 'password={}'", "prepare p1 as select <secret>"),
    ("select 'password={}', 1/0", "select <secret>, 1/0"),
    ("copy (select 'password={}') to stdout", "copy (select <secret>) to stdout"),
    ("alter system set primary_conninfo = 'password={}'", "alter system set primary_conninfo = <secret>"),
];

#[test]
fn passwords_are_in_no_event() {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    let mut secrets = Vec::new();
    for (form, _) in FORMS {
        let secret = random_text(12);
        // Some fail, as they shall: what is said then is recorded, too.
        let _ = admin.simple_query(&form.replace("{}", &secret));
        secrets.push(secret);
    }
    // What the function runs is a statement of its own.
    admin.simple_query("select public.f1()").unwrap();
    for value in ["host=x password={}", "postgres://bob:{}@db/x", "alter role r1 password '{}'"] {
        let secret = random_text(12);
        admin.execute("select $1::text", &[&value.replace("{}", &secret)]).unwrap();
        secrets.push(secret);
    }
    sync(&mut admin);
    // First the files: the questions below have the secrets as parameters.
    let mut searched = 0;
    for entry in fs::read_dir(shop.cluster.data().join("pg_custodian")).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap();
        searched += bytes.len();
        for secret in &secrets {
            assert!(
                memchr::memmem::find(&bytes, secret.as_bytes()).is_none(),
                "{secret} in {:?}",
                entry.path()
            );
        }
    }
    for secret in &secrets {
        let rows =
            admin.query("select l::text from audit.ledger as l where position($1 in l::text) > 0", &[secret]);
        assert_eq!(
            rows.unwrap().iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>(),
            Vec::<String>::new()
        );
    }
    let recorded: Vec<String> = admin
        .query("select statement from audit.statements where statement is not null order by seq", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let missing: Vec<&str> = FORMS
        .iter()
        .map(|(_, left)| *left)
        .filter(|left| !recorded.iter().any(|text| text == left))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "recorded: {recorded:#?}");
    println!("{} secrets in {} forms, {searched} bytes of journal searched", secrets.len(), FORMS.len() + 3);
}
