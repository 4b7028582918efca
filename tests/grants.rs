//! Grants as a person on a governed login meets them: columns, rows, functions, definitions, and what is no way around.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop};
use harness::{assert_refused, wait_for};
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};

/// A governed shop in which the database itself allows the shared login nearly everything.
fn governed() -> (Shop, Client) {
    let shop = shop::open("govern");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create table public.sales (id int primary key, customer_id int, amount int, note text);
             insert into public.sales select n, n % 3, n * 10, 'n' || n from generate_series(1, 9) n;
             create function public.twice(int) returns int language plpgsql as 'begin return $1 * 2; end';
             alter table public.sales owner to readonly;
             grant all on schema public to readonly;
             grant create on database shop to readonly",
        )
        .unwrap();
    (shop, admin)
}

fn give(admin: &mut Client, arguments: &str) -> i64 {
    admin.query_one(&format!("select access.grant_access({arguments})"), &[]).unwrap().get(0)
}

/// The first column of what a statement returns.
fn column(client: &mut Client, statement: &str) -> Vec<String> {
    let said = client.simple_query(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    said.into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        })
        .collect()
}

fn denied(client: &mut Client, statement: &str) {
    let error = client.simple_query(statement).err().unwrap_or_else(|| panic!("{statement} ran"));
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {error:?}");
}

#[test]
fn columns_are_read_and_written_only_as_they_were_granted() {
    let (shop, mut admin) = governed();
    for column in ["id", "amount"] {
        give(&mut admin, &format!("'alice', '{{select}}', 'COLUMN public.sales.{column}', '1 hour', 'x'"));
    }
    give(&mut admin, "'alice', '{update}', 'COLUMN public.sales.note', '1 hour', 'x'");
    let mut alice = shop.person("alice", &[]);
    assert_eq!(column(&mut alice, "select amount from public.sales where id = 2"), ["20"]);
    assert_eq!(column(&mut alice, "select count(*) from public.sales"), ["9"]);
    alice.simple_query("update public.sales set note = 'seen' where id = 2").unwrap();
    for statement in [
        "select * from public.sales",
        "select s from public.sales s",
        "select ctid from public.sales",
        "select id from public.sales where customer_id = 1",
        "select id from public.sales order by note",
        "update public.sales set amount = 0 where id = 2",
        "update public.sales set note = '' where id = 2 returning note",
        "delete from public.sales where id = 2",
        "insert into public.sales (id) values (99)",
        "copy public.sales (id) to stdout",
        "copy (select id from public.sales) to stdout",
        "lock table public.sales",
    ] {
        denied(&mut alice, statement);
    }
    // By identity: the name of a column that is not granted opens nothing, the new name of one that is does.
    admin
        .batch_execute(
            "alter table public.sales rename column amount to sum;
             alter table public.sales rename column customer_id to amount",
        )
        .unwrap();
    denied(&mut alice, "select amount from public.sales");
    assert_eq!(column(&mut alice, "select sum from public.sales where id = 3"), ["30"]);
    admin
        .batch_execute("alter table public.sales drop column sum; alter table public.sales add sum int")
        .unwrap();
    denied(&mut alice, "select sum from public.sales");
}

#[test]
fn rows_that_are_not_granted_are_neither_read_nor_written() {
    let (shop, mut admin) = governed();
    let all = "'{select, insert, update, delete}'";
    give(
        &mut admin,
        &format!("'alice', {all}, 'TABLE public.sales', '1 hour', 'x', rows => 'customer_id = 1'"),
    );
    let mut alice = shop.person("alice", &[]);
    let ids = "select id from public.sales order by id";
    assert_eq!(column(&mut alice, ids), ["1", "4", "7"]);
    for (statement, expected) in [
        ("select count(*) from public.sales", "3"),
        ("select count(*) from public.sales where customer_id = 2", "0"),
        ("select count(*) from public.sales a join public.sales b on true", "9"),
        ("with s as (select * from public.sales) select count(*) from s", "3"),
        ("select (select count(*) from public.sales)", "3"),
        ("select count(*) from public.sales union all select 0 where false", "3"),
        ("select count(*) from (select * from public.sales offset 0) s", "3"),
        ("select count(*) from generate_series(1, 2), lateral (select * from public.sales) s", "6"),
        ("with u as (update public.sales set note = 'u' returning id) select count(*) from u", "3"),
        ("with d as (delete from public.sales where id in (1, 2) returning id) select count(*) from d", "1"),
    ] {
        assert_eq!(column(&mut alice, statement), [expected], "{statement}");
    }
    assert_eq!(column(&mut admin, "select count(*) from public.sales where note = 'u'"), ["2"]);
    assert_eq!(column(&mut admin, "select count(*) from public.sales"), ["8"]);
    alice.simple_query("insert into public.sales values (10, 1, 0, '') on conflict do nothing").unwrap();
    alice
        .simple_query(
            "insert into public.sales values (10, 1, 5, '') on conflict (id) do update set amount = 5",
        )
        .unwrap();
    for statement in [
        "insert into public.sales values (11, 2, 0, '')",
        "insert into public.sales select 11, 0, 0, ''",
        "update public.sales set customer_id = 2",
        "insert into public.sales values (10, 1, 0, '') on conflict (id) do update set customer_id = 2",
        "insert into public.sales values (2, 1, 0, '') on conflict (id) do update set amount = 0",
        "merge into public.sales s using (values (4)) v (id) on s.id = v.id when matched then delete",
        "truncate public.sales",
        "lock table public.sales",
        "copy public.sales to stdout",
        "copy (select * from public.sales) to stdout",
        "copy public.sales from stdin",
    ] {
        denied(&mut alice, statement);
    }
    alice.simple_query("begin; declare c cursor for select id from public.sales").unwrap();
    assert_eq!(column(&mut alice, "fetch all c").len(), 3);
    alice.simple_query("commit").unwrap();
    // Functions that look before the filter would see what is hidden.
    admin
        .batch_execute(
            "create function public.shout(int) returns bool language plpgsql cost 0.0001 as
                'begin raise notice ''%'', $1; return true; end'; create index on public.sales (customer_id)",
        )
        .unwrap();
    give(&mut admin, "'alice', '{execute}', 'SCHEMA public', '1 hour', 'x'");
    assert_eq!(column(&mut alice, "select count(*) from public.sales where public.shout(id)"), ["3"]);
    // A hidden row that was looked at would divide by zero.
    assert_eq!(
        column(&mut alice, "select count(*) from public.sales where 1 / (customer_id - 2) < 9"),
        ["3"]
    );
}

#[test]
fn rows_of_several_grants_add_up_and_all_rows_win() {
    let (shop, mut admin) = governed();
    let rows =
        |rows: &str| format!("'alice', '{{select}}', 'TABLE public.sales', '1 hour', 'x', rows => '{rows}'");
    let first = give(&mut admin, &rows("customer_id = 1"));
    let mut alice = shop.person("alice", &[]);
    let count = alice.prepare("select count(*) from public.sales where id < $1").unwrap();
    let mut counted = |shown: i64| {
        // A plan that was made under other grants is told so once at most.
        for _ in 0..2 {
            match alice.query_one(&count, &[&100]) {
                Ok(row) => return assert_eq!(row.get::<_, i64>(0), shown),
                Err(error) => assert!(
                    [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::INSUFFICIENT_PRIVILEGE]
                        .contains(&error.code().unwrap()),
                    "{error:?}"
                ),
            }
        }
        assert_eq!(shown, -1, "refused twice");
    };
    for _ in 0..7 {
        counted(3);
    }
    let second = give(&mut admin, &rows("customer_id = 2 or id = 3"));
    counted(7);
    let schema = give(&mut admin, "'alice', '{select}', 'SCHEMA public', '1 hour', 'x'");
    counted(9);
    for (id, shown) in [(schema, 7), (first, 4), (second, -1)] {
        admin.execute("select access.revoke_access($1, 'x')", &[&id]).unwrap();
        counted(shown);
    }
}

#[test]
fn rows_follow_columns_and_end_with_them() {
    let (shop, mut admin) = governed();
    give(&mut admin, "'alice', '{select}', 'TABLE public.sales', '1 hour', 'x', rows => 'customer_id = 1'");
    let mut alice = shop.person("alice", &[]);
    admin
        .batch_execute(
            "alter table public.sales rename column customer_id to who;
             alter table public.sales rename column amount to customer_id",
        )
        .unwrap();
    assert_eq!(column(&mut alice, "select count(*) from public.sales"), ["3"]);
    admin.batch_execute("alter table public.sales drop column who").unwrap();
    denied(&mut alice, "select count(*) from public.sales");
    assert_eq!(column(&mut admin, "select live from access.grants"), ["f"]);
    assert_eq!(
        column(&mut admin, "select count(*) from access.grants where rows = 'customer_id = 1'"),
        ["1"]
    );
}

#[test]
fn conditions_that_are_none_are_refused() {
    let (_shop, mut admin) = governed();
    admin
        .batch_execute(
            "create function public.mine(int) returns bool immutable language sql as 'select true';
             create view public.seen as select * from public.sales",
        )
        .unwrap();
    let mut wrong = Vec::new();
    let mut refused = |object: &str, rows: &str, state: &str| {
        let call = "select access.grant_access('alice', '{select}', $1, '1 hour', 'x', rows => $2)";
        let error = admin.query(call, &[&object, &rows]).err().unwrap_or_else(|| panic!("{rows} was taken"));
        let told = error.as_db_error().unwrap();
        if told.code().code() != state || told.hint().is_none() {
            wrong.push(format!("{rows}: {told}, {}", told.code().code()));
        }
    };
    for (rows, state) in [
        ("customer_id =", "42601"),
        ("customer_id = 1)", "42601"),
        ("customer_id = 1; drop table public.sales", "42601"),
        // as PostgreSQL reads it, a column called "and"
        ("customer_id = 1 and", "22023"),
        ("", "22023"),
        ("customer_id", "22023"),
        ("customer_id = 1, true", "22023"),
        ("customer_id = 1 as x", "22023"),
        ("customer_id = 1 from public.sales", "22023"),
        ("true from (select 1) s where true", "22023"),
        ("customer_id = 1 order by 1", "22023"),
        ("customer_id = 1 limit 1", "22023"),
        ("customer_id = 1 union select true", "42601"),
        ("true", "22023"),
        ("null", "22023"),
        ("nothing = 1", "22023"),
        ("orders.id = 1", "22023"),
        ("other.sales.id = 1", "22023"),
        ("sales.* is not null", "22023"),
        ("sales is not null", "22023"),
        ("ctid = '(0,1)'", "22023"),
        ("tableoid = 1", "22023"),
        ("customer_id = $1", "22023"),
        ("customer_id = 'one'", "22023"),
        ("customer_id = 1 / 0", "22023"),
        ("customer_id in (select id from public.orders)", "22023"),
        ("exists (select 1)", "22023"),
        ("count(*) > 1", "22023"),
        ("rank() over () = id", "22023"),
        ("generate_series(1, id) = 1", "22023"),
        ("random() < id", "22023"),
        ("clock_timestamp() > now() and id = 1", "22023"),
        ("nextval('s') = id", "22023"),
        ("public.mine(id)", "22023"),
        ("current_setting('app.id')::int = id", "22023"),
        ("query_to_xml('select 1', true, true, '') is not null and id = 1", "22023"),
        ("pg_sleep(1) is null and id = 1", "22023"),
    ] {
        refused("TABLE public.sales", rows, state);
    }
    refused("TABLE public.seen", "id = 1", "42809");
    refused("SCHEMA public", "id = 1", "22023");
    refused("COLUMN public.sales.id", "id = 1", "22023");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(column(&mut admin, "select count(*) from access.grants"), ["0"]);
    for rows in [
        "id = 1",
        "sales.id = 1 and public.sales.note like 'n%'",
        "customer_id in (1, 2) or note is null",
        "case when id > 1 then amount between 1 and 5 else coalesce(note, '') <> '' end",
        "lower(note) = any (array['a', 'b']) and id > extract(year from now())",
        "(id, customer_id) = (1, 2)",
        "current_user = note",
    ] {
        let call = "select access.grant_access('alice', '{select}', 'TABLE public.sales', '1 hour', 'x', rows => $1)";
        admin.query_one(call, &[&rows]).unwrap_or_else(|error| panic!("{rows}: {error:?}"));
    }
}

#[test]
fn operators_of_the_search_path_do_not_change_a_condition() {
    let (shop, mut admin) = governed();
    give(&mut admin, "'alice', '{select}', 'TABLE public.sales', '1 hour', 'x', rows => 'customer_id = 1'");
    admin
        .batch_execute(
            "create function public.yes(int, int) returns bool immutable language sql as 'select true';
             create operator public.= (leftarg = int, rightarg = int, function = public.yes)",
        )
        .unwrap();
    let mut alice = shop.person("alice", &[]);
    alice.simple_query("set search_path = public, pg_catalog").unwrap();
    assert_eq!(column(&mut alice, "select count(*) from public.sales"), ["3"]);
}

#[test]
fn a_renamed_schema_keeps_its_grant_and_another_of_the_name_has_none() {
    let (shop, mut admin) = governed();
    admin
        .batch_execute(
            "create schema a; create table a.t (); grant usage on schema a to readonly; grant select on a.t to readonly",
        )
        .unwrap();
    give(&mut admin, "'alice', '{select}', 'SCHEMA a', '1 hour', 'x'");
    let mut alice = shop.person("alice", &[]);
    admin.batch_execute("alter schema a rename to b").unwrap();
    alice.simple_query("select from b.t").unwrap();
    let same = "create schema a; create table a.t (); grant usage on schema a to readonly; grant select on a.t to readonly";
    admin.batch_execute(same).unwrap();
    denied(&mut alice, "select from a.t");
    assert_eq!(column(&mut admin, "select object from access.grants"), ["SCHEMA b"]);
    admin.batch_execute("drop schema b cascade; alter schema a rename to b").unwrap();
    denied(&mut alice, "select from b.t");
    assert_eq!(column(&mut admin, "select object from access.grants where not live"), ["SCHEMA a (dropped)"]);
}

#[test]
fn a_grant_that_starts_later_permits_nothing_before() {
    let (shop, mut admin) = governed();
    let with = |start: &str| {
        format!("'alice', '{{select}}', 'TABLE public.sales', '1 hour', 'x', starts_at => {start}")
    };
    let mut alice = shop.person("alice", &[]);
    give(&mut admin, &with("clock_timestamp() + '3 s'"));
    denied(&mut alice, "select count(*) from public.sales");
    wait_for("the start of the grant", || alice.simple_query("select count(*) from public.sales").is_ok());
    for start in ["now() - interval '1 hour'", "now() + interval '2 years'", "'infinity'", "'-infinity'"] {
        let code = SqlState::INVALID_PARAMETER_VALUE;
        assert_refused(admin.simple_query(&format!("select access.grant_access({})", with(start))), &code);
    }
}
