//! Masking of the tables themselves: what is masked does not come out, whatever is asked; attacks by name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::clock::Clock;
use harness::shop::{self, Shop, identify};
use harness::{Wanted, assert_refused, custodian, refusal, wait_for};
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};
use std::io::Read;

const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;

/// Parts of true values of protected columns, none of which is in their masks or in other columns.
const TRUE_VALUES: [&str; 9] = [
    "370400440532",
    "000201231234",
    "NWBK60161331",
    "078-05",
    "1984-03-11",
    "ada.winter",
    "bruno.costa",
    "370400440532013000",
    "volkov@",
];

/// A shop in which the shared role may do on the tables what it likes.
fn open(mode: &str) -> Shop {
    open_on(custodian(), mode)
}

fn open_on(server: Wanted, mode: &str) -> Shop {
    let shop = shop::open_on(server, mode);
    shop.admin()
        .batch_execute(
            "alter table public.customers add note text,
                 add low text generated always as (lower(iban)) stored;
             select mask.protect('public.customers', 'date_of_birth', 'null_value');
             grant all on public.customers, public.orders to readonly;
             grant create on schema public to readonly;
             analyze;",
        )
        .unwrap();
    shop
}

/// Everything that the client gets back, as text; of an error message, detail, context and code.
fn answer(client: &mut Client, query: &str) -> String {
    if query.starts_with("copy") {
        let mut out = String::new();
        match client.copy_out(query).map(|mut rows| rows.read_to_string(&mut out)) {
            Ok(read) => {
                read.unwrap_or_else(|error| panic!("{query}: {error:?}"));
                return out;
            }
            Err(error) => return format!("{:?}", error.as_db_error().unwrap_or_else(|| panic!("{query}"))),
        }
    }
    match client.simple_query(query) {
        Ok(messages) => {
            let mut out = String::new();
            for message in messages {
                match message {
                    SimpleQueryMessage::Row(row) => {
                        let fields: Vec<&str> =
                            (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
                        out += &fields.join("|");
                        out.push('\n');
                    }
                    SimpleQueryMessage::CommandComplete(count) => out += &format!("({count})\n"),
                    _ => {}
                }
            }
            out
        }
        Err(error) => {
            let error = error.as_db_error().unwrap_or_else(|| panic!("{query}: {error:?}"));
            format!("{} {} {:?} {:?}", error.code().code(), error.message(), error.detail(), error.where_())
        }
    }
}

#[track_caller]
fn shows_no_true_value(query: &str, answer: &str) {
    for value in TRUE_VALUES {
        assert!(!answer.contains(value), "{query}\ntells {value}:\n{answer}");
    }
}

fn one(client: &mut Client, query: &str) -> Option<String> {
    let rows = client.query(query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    rows.first().and_then(|row| row.get(0))
}

/// How far to put the clock forward, in seconds. Tokens live longer.
const AFTER_FIVE_MINUTES: i64 = 360;

const IBAN: &str = "DE89**************3000";
const TRUE_IBAN: &str = "DE89370400440532013000";

#[test]
fn people_see_masks_and_the_application_sees_data() {
    let shop = open("identify");
    let query = "select iban from public.customers where id = 1";
    assert_eq!(one(&mut shop.person("eve", &[]), query).as_deref(), Some(IBAN));
    assert_eq!(one(&mut shop.person("sam", &["support"]), query).as_deref(), Some(TRUE_IBAN));
    assert_eq!(one(&mut shop.admin(), query).as_deref(), Some(TRUE_IBAN), "no person, not enrolled");
    let ssn = "select ssn from public.customers where id = 1";
    assert_eq!(one(&mut shop.person("sam", &["support"]), ssn), None, "revealed to nobody");
    let mut admin = shop.admin();
    identify(&mut admin, &shop.issuer.person("dba", &[])).unwrap();
    assert_eq!(one(&mut admin, query).as_deref(), Some(IBAN), "a person is a person on every role");
    admin.batch_execute("select custodian.clear_identity()").unwrap();
    assert_eq!(one(&mut admin, query).as_deref(), Some(TRUE_IBAN));
}

#[test]
fn a_role_that_is_observed_is_recorded_and_not_masked_until_it_has_a_person() {
    let shop = open("observe");
    let query = "select iban from public.customers where id = 1";
    let mut client = shop.readonly();
    assert_eq!(one(&mut client, query).as_deref(), Some(TRUE_IBAN));
    identify(&mut client, &shop.issuer.person("eve", &[])).unwrap();
    assert_eq!(one(&mut client, query).as_deref(), Some(IBAN));
}

#[test]
fn no_shape_of_a_query_shows_what_is_masked() {
    let shop = open("identify");
    let mut client = shop.person("eve", &[]);
    client
        .batch_execute(
            "create function public.rows_of() returns setof public.customers language sql stable as 'select * from public.customers';
             create function public.row_of(n int) returns text language plpgsql as $$
                 declare r public.customers; begin select * into r from public.customers where id = n; return r.iban || r::text; end $$;
             create function public.constant(n int) returns text language sql immutable as 'select iban from public.customers where id = n';
             create function public.probe(t text) returns boolean language plpgsql cost 0.0001 as
                 $$ begin raise notice '%', t; if t like 'DE89370%' then raise exception 'found %', t; end if; return true; end $$;
             create function public.text_to_int(a public.customers) returns text language sql as 'select a.iban';
             create view public.plain as select * from public.customers;
             create view public.invoker with (security_barrier) as select id, email || iban as both from public.customers;
             create function public.eq(text, text) returns boolean language sql as 'select $1 = $2 or $1 like ''DE8937%''';
             create operator public.=== (leftarg = text, rightarg = text, function = public.eq)",
        )
        .unwrap();
    for query in [
        "select * from customers",
        "table customers",
        "select c from customers c",
        "select c.* from (select * from customers) c",
        "select (c).iban, (c).* from customers c",
        "select row_to_json(c), to_jsonb(c), c::text from customers c",
        "select array_agg(c) from customers c",
        "select string_agg(iban, ',' order by email) from customers",
        "select iban, count(*) from customers group by iban",
        "select iban, email, count(*) from customers group by grouping sets ((iban), (email), rollup (iban, ssn))",
        "select id, iban from customers group by id",
        "select max(iban), min(email) from customers having max(iban) > ''",
        "select distinct on (email) email, iban from customers order by email, iban desc",
        "select lag(iban) over w, first_value(email) over w from customers window w as (order by iban)",
        "select iban from customers union all select email from customers order by 1",
        "select iban from customers intersect select iban from customers",
        "select iban from customers except select 'x'",
        "with recursive r as (select id, iban from customers where id = 1 union all select c.id, c.iban from customers c join r on c.id = r.id + 1) select * from r",
        "with m as materialized (select * from customers) select * from m",
        "select c.iban, o.id from orders o left join customers c on c.id = o.customer_id and c.iban is not null",
        "select c from orders o full join customers c on c.id = o.id",
        "select a.iban, b.email from customers a natural join customers b",
        "select iban from customers a join customers b using (iban)",
        "select l.* from customers c, lateral (select c.iban, c.email, c) l",
        "select (select iban from customers where id = o.customer_id) from orders o",
        "select array(select iban from customers)",
        "select * from rows_of()",
        "select rows_of()",
        "select (rows_of()).iban",
        "select f.iban from rows_of() with ordinality f",
        "select row_of(1)",
        "select constant(1)",
        "select text_to_int(c), c.text_to_int from customers c",
        "select * from plain",
        "select * from invoker",
        "select * from masked.customers",
        "select iban from customers tablesample system (100)",
        "select iban from customers for update",
        "select xmin, ctid, tableoid::regclass, iban from customers",
        "select * from customers where probe(iban)",
        "select * from plain where probe(iban)",
        "select * from invoker where probe(both)",
        "select * from customers where iban === 'x'",
        "select iban::int from customers",
        "select 1 / (case when iban like 'DE8937%' then 0 else 1 end) from customers",
        "select date_of_birth, extract(year from date_of_birth) from customers",
        "values ((select iban from customers where id = 1))",
        "select * from (values ((select email from customers where id = 1))) v",
        "select low from customers",
        "copy customers to stdout",
        "copy customers (iban, email) to stdout with csv header",
        "copy (select * from customers) to stdout",
        "copy (delete from customers where id = -1 returning *) to stdout",
        "begin; declare c cursor for select * from customers; fetch all from c; commit",
        "begin; declare h cursor with hold for select * from customers; commit; fetch all from h; close h",
        "prepare a as select * from customers; execute a; deallocate a",
        "create temp table t as select * from customers; select * from t; drop table t",
        "select iban into temp t from customers; select * from t; drop table t",
        "create temp table t (v text); insert into t select iban from customers; select * from t; drop table t",
        "select table_to_xml('customers', true, false, '')",
        "select query_to_xml('select iban from customers', true, false, '')",
        "select schema_to_xml('public', true, false, '')",
        "select * from ts_stat('select to_tsvector(email) from customers')",
        "do $$ declare r record; begin for r in select * from customers loop raise notice '%', r; end loop; raise exception '%', (select max(iban) from customers); end $$",
        "explain (analyze, verbose, costs off, timing off, summary off) select * from customers where iban = 'x'",
        "select jsonb_path_query(to_jsonb(c), '$.iban') from customers c",
        "select xmlelement(name x, iban) from customers",
        "select pg_typeof(iban), iban from customers",
        "merge into orders o using customers c on false when not matched and c.iban like 'DE8937%' then do nothing",
    ] {
        shows_no_true_value(query, &answer(&mut client, query));
    }
}

#[test]
fn predicates_see_masks_only() {
    let shop = open("identify");
    let mut client = shop.person("eve", &[]);
    for (condition, rows) in [
        ("iban = 'DE89370400440532013000'", 0),
        ("iban = 'DE89**************3000'", 1),
        ("iban like 'DE8937%'", 0),
        ("ssn is not null", 0),
        ("ssn is null", 4),
        ("email = 'ada.winter@example.com'", 0),
        ("iban is null", 1),
        ("length(iban) = 24", 0),
        ("(customers).iban like '%3704%'", 0),
        ("customers::text like '%3704%'", 0),
        ("exists (select from customers c where c.iban = 'DE89370400440532013000')", 0),
        ("low is not null", 0),
    ] {
        let query = format!("select count(*)::text from customers where {condition}");
        assert_eq!(one(&mut client, &query), Some(rows.to_string()), "{condition}");
    }
    assert_eq!(client.execute("delete from customers where iban like 'DE8937%'", &[]).unwrap(), 0);
    assert_eq!(client.execute("update customers set note = 'x' where ssn = '078-05-1120'", &[]).unwrap(), 0);
}

#[test]
fn a_prepared_statement_is_right_for_each_person_who_runs_it() {
    let shop = open("identify");
    let mut client = shop.person("eve", &[]);
    client.batch_execute("set plan_cache_mode = force_generic_plan").unwrap();
    let prepared = client.prepare("select iban from public.customers where id = $1").unwrap();
    let iban = |client: &mut Client| client.query_one(&prepared, &[&1_i64]).unwrap().get::<_, String>(0);
    for _ in 0..7 {
        assert_eq!(iban(&mut client), IBAN);
    }
    for (user, groups, expected) in [
        ("sam", &["support"][..], TRUE_IBAN),
        ("eve", &[], IBAN),
        ("sam", &["support"], TRUE_IBAN),
        ("bob", &["sales"], IBAN),
    ] {
        identify(&mut client, &shop.issuer.person(user, groups)).unwrap();
        for _ in 0..3 {
            assert_eq!(iban(&mut client), expected, "{user}");
        }
    }
}

#[test]
fn a_plan_from_before_the_policy_masks_and_one_from_before_its_end_reveals() {
    let shop = open("identify");
    let (mut admin, mut client) = (shop.admin(), shop.person("eve", &[]));
    client
        .batch_execute(
            "set plan_cache_mode = force_generic_plan; prepare p as select name from customers where id = 1",
        )
        .unwrap();
    assert_eq!(one(&mut client, "execute p").as_deref(), Some("Ada Winter"));
    admin.batch_execute("select mask.protect('customers', 'name', 'partial(1, ''*'', 0)')").unwrap();
    assert_eq!(one(&mut client, "execute p").as_deref(), Some("A*"));
    admin.batch_execute("select mask.unprotect('customers', 'name')").unwrap();
    assert_eq!(one(&mut client, "execute p").as_deref(), Some("Ada Winter"));
}

#[test]
fn a_cached_plan_masks_again_when_a_grant_to_reveal_ends() {
    let clock = Clock::new();
    let shop = open_on(custodian().environment(clock.environment()), "identify");
    let (mut admin, mut client) = (shop.admin(), shop.person("eve", &[]));
    client
        .batch_execute(
            "set plan_cache_mode = force_generic_plan;
             prepare p as select iban from customers where id = 1;
             create function public.folded() returns text language sql immutable as 'select iban from customers where id = 1';
             prepare f as select folded()",
        )
        .unwrap();
    let both = |client: &mut Client| [one(client, "execute p"), one(client, "execute f")];
    assert_eq!(both(&mut client), [Some(IBAN.into()), Some(IBAN.into())]);
    admin
        .batch_execute(
            "select access.grant_access('eve', array['reveal'], 'TABLE public.customers', '5 minutes', 'test')",
        )
        .unwrap();
    assert_eq!(both(&mut client), [Some(TRUE_IBAN.into()), Some(TRUE_IBAN.into())]);
    // Nothing announces the end of a grant.
    clock.set(AFTER_FIVE_MINUTES);
    wait_for("the grant's end", || one(&mut client, "execute p").as_deref() == Some(IBAN));
    assert_eq!(both(&mut client), [Some(IBAN.into()), Some(IBAN.into())]);
}

#[test]
fn a_cursor_does_not_outlive_what_revealed_its_columns() {
    let clock = Clock::new();
    let shop = open_on(custodian().environment(clock.environment()), "identify");
    let mut client = shop.person("eve", &[]);
    shop.admin()
        .batch_execute("select access.grant_access('eve', array['reveal'], 'TABLE public.customers', '5 minutes', 'test')")
        .unwrap();
    client.batch_execute("begin; declare c cursor for select iban from customers order by id").unwrap();
    assert_eq!(one(&mut client, "fetch c").as_deref(), Some(TRUE_IBAN));
    clock.set(AFTER_FIVE_MINUTES);
    let said = answer(&mut client, "fetch c");
    assert!(said.starts_with("42501"), "{said}");
}

/// Nothing can be looked up in a transaction that has failed, and everything may have to be looked up again.
#[test]
fn a_failed_transaction_ends_whatever_has_changed_meanwhile() {
    let shop = open("govern");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "select mask.generate_view('public.orders');
             select access.grant_access('eve', array['select', 'reveal'], 'DATABASE', '1 hour', 'test')",
        )
        .unwrap();
    let started = "select pg_postmaster_start_time()::text";
    let before = one(&mut admin, started);
    let changes = [
        "select custodian.enroll('readonly', 'govern', row_limit => 100000)",
        "select mask.protect('public.customers', 'note', 'null_value')",
        "select access.grant_access('eve', array['select'], 'TABLE public.orders', '1 hour', 'test')",
        "select custodian.define_query('orders_of', 'customer int', 'select o.id from public.orders o where o.customer_id = customer')",
        "create table public.more (id int)",
    ];
    for ending in ["rollback", "commit", "rollback to s", "abort and chain"] {
        for change in changes {
            let mut client = shop.person("eve", &[]);
            client.batch_execute("declare h cursor with hold for select id, iban from customers").unwrap();
            client
                .batch_execute("begin; savepoint s; declare c cursor for select iban from customers")
                .unwrap();
            assert!(one(&mut client, "fetch c").is_some());
            client.batch_execute("select 1 / (id - 1) from customers").unwrap_err();
            admin.batch_execute(change).unwrap();
            client.batch_execute(ending).unwrap_or_else(|error| panic!("{change}; {ending}: {error:?}"));
            client.batch_execute("rollback").unwrap();
            assert!(
                one(&mut client, "select iban from customers order by id").is_some(),
                "{change}; {ending}"
            );
            admin
                .batch_execute("select custodian.drop_query(name) from custodian.queries; drop table if exists public.more")
                .unwrap();
        }
    }
    assert_eq!(one(&mut admin, started), before, "no process has crashed");
}

#[test]
fn enrolling_a_role_masks_the_plans_that_its_sessions_have() {
    let shop = open("observe");
    let mut client = shop.readonly();
    client
        .batch_execute(
            "set plan_cache_mode = force_generic_plan; prepare p as select iban from customers where id = 1",
        )
        .unwrap();
    assert_eq!(one(&mut client, "execute p").as_deref(), Some(TRUE_IBAN));
    shop.admin().batch_execute("select custodian.enroll('readonly', 'identify')").unwrap();
    identify(&mut client, &shop.issuer.person("eve", &[])).unwrap();
    assert_eq!(one(&mut client, "execute p").as_deref(), Some(IBAN));
}

#[test]
fn set_role_to_an_enrolled_role_masks_plans_from_before() {
    let shop = open("identify");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create role twofold login; grant readonly to twofold; grant select on customers to twofold",
        )
        .unwrap();
    let mut client = shop.cluster.local("twofold", "shop");
    client
        .batch_execute(
            "set plan_cache_mode = force_generic_plan; prepare p as select iban from customers where id = 1",
        )
        .unwrap();
    assert_eq!(one(&mut client, "execute p").as_deref(), Some(TRUE_IBAN));
    client.batch_execute("set role readonly").unwrap();
    let refused = refusal(client.query("execute p", &[]));
    assert_eq!(refused.code().code(), "28000", "{refused:?}");
    identify(&mut client, &shop.issuer.person("eve", &[])).unwrap();
    assert_eq!(one(&mut client, "execute p").as_deref(), Some(IBAN));
}

#[test]
fn masks_are_never_written_over_data() {
    let shop = open("identify");
    let mut client = shop.person("eve", &[]);
    client.batch_execute("create table public.own (id int, v text)").unwrap();
    shop.admin()
        .batch_execute(
            "create view through as select id, iban, note from customers; grant all on through to readonly;
             create function written() returns trigger language plpgsql as $$ begin
                 update customers set iban = new.iban, note = new.note where id = new.id; return new; end $$;
             create trigger written instead of update on through for each row execute function written();
             create rule copies as on update to orders do also update customers set note = iban where id = new.id",
        )
        .unwrap();
    for statement in [
        "update through set note = 'x' where id = 1",
        "update orders set amount = 2 where id = 1",
        "update customers set iban = iban",
        "update customers set note = iban || 'x'",
        "update customers set note = c.iban from customers c where c.id = customers.id",
        "update customers set note = (select iban from customers c where c.id = customers.id)",
        "update own set (v, id) = (select iban, 1 from customers c where c.id = own.id)",
        "with x as (select iban as y from customers) update own set v = x.y from x",
        "update own set v = s.a from (select 'a' as a union all select iban from customers) s",
        "update own set v = s.a from (values ((select email from customers where id = 1))) s(a)",
        "update own set v = l.x from customers c, lateral (select c.iban as x) l",
        "update own set v = j.iban from (customers a join customers b using (iban)) j",
        "update own set v = w.c::text from (select c from customers c) w",
        "update own set v = max from (select max(iban) from customers) m",
        "insert into own select id, iban from customers",
        "insert into own values (1, (select iban from customers where id = 1))",
        "insert into own select id, low from customers",
        "insert into customers (id, name, email) select id + 100, name, email from customers",
        "with d as (delete from customers where id = 4 returning *) insert into own select id, email from d",
        "insert into customers (id, name, email) values (1, 'a', 'b') on conflict (id) do update set note = customers.iban",
        "merge into own using customers c on own.id = c.id when matched then update set v = c.iban when not matched then insert values (c.id, 'x')",
        "merge into own using customers c on own.id = c.id when not matched then insert values (c.id, c.email)",
        "merge into customers c using orders o on c.id = o.id when matched then update set note = c.ssn",
        "create table public.kept as select iban from customers",
        "select iban into public.kept from customers",
        "create unlogged table public.kept as table customers",
        "create materialized view public.kept as select id from customers where iban like 'DE%'",
        "prepare x as select iban from customers; create table public.kept as execute x",
        "explain analyze create table public.kept as select iban from customers",
    ] {
        let refused = assert_refused(client.simple_query(statement).map(|_| ()), &DENIED);
        assert!(refused.message().contains("mask"), "{statement}: {refused:?}");
        client.batch_execute("deallocate all").unwrap();
    }
    let named = assert_refused(client.simple_query("update customers set note = iban").map(|_| ()), &DENIED);
    assert_eq!(
        named.message(),
        "cannot write masked column \"iban\" of relation \"customers\" into column \"note\" of relation \"customers\""
    );
    for statement in [
        "update customers set iban = 'DE00' where id = 1",
        "insert into own select id, name from customers",
        "create table public.kept as select id, name from customers where iban like 'DE89*%'",
        "insert into customers (id, name, email) values (9, 'n', 'e') on conflict (id) do update set note = excluded.name",
    ] {
        client.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    shop.admin().batch_execute("insert into mask.keeper values ('public.own')").unwrap();
    client.batch_execute("insert into own select id, iban from customers").unwrap();
    let kept = "select v from own where id = 2 and v like '%*%'";
    assert_eq!(one(&mut client, kept).as_deref(), Some("PT50**************0154"), "permitted, and a mask");
    let sum = "select count(*)::text from customers where iban like '%*%' or email like '%*%'";
    assert_eq!(one(&mut shop.admin(), sum).as_deref(), Some("0"));
    let mut sam = shop.person("sam", &["support"]);
    sam.batch_execute("update customers set note = iban where id = 2").unwrap();
}

#[test]
fn returning_shows_masks() {
    let shop = open("identify");
    let mut client = shop.person("eve", &[]);
    for statement in [
        "update customers set note = 'n' where id = 1 returning iban, customers, customers.*",
        "insert into customers (id, name, email, ssn) values (20, 'n', 'secret.person@example.com', '078-05-9') returning ssn, email, customers",
        "delete from orders using customers c where c.id = customer_id returning c.iban, c",
        "delete from customers where id = 3 returning *",
    ] {
        let said = answer(&mut client, statement);
        shows_no_true_value(statement, &said);
        assert!(!said.contains("secret.person"), "{said}");
    }
}

#[test]
fn details_of_errors_hide_rows_and_keys() {
    let shop = open("identify");
    shop.admin()
        .batch_execute(
            "alter table customers add constraint short check (length(note) < 10), add unique (note, iban);
             update customers set note = 'a';
             create table picky (id int references customers (id)); grant all on picky to readonly;
             create view checked as select id, note from customers where note < 'm' with check option;
             grant all on checked to readonly",
        )
        .unwrap();
    let mut client = shop.person("eve", &[]);
    client
        .batch_execute(
            "create function public.told(q text) returns text language plpgsql as $$ declare d text; begin execute q; return '';
                 exception when others then get stacked diagnostics d = pg_exception_detail; return sqlerrm || d; end $$",
        )
        .unwrap();
    for statement in [
        "update customers set name = null where id = 1",
        "update customers set note = repeat('x', 20) where id = 1",
        "update customers set id = 2 where id = 1",
        "update checked set note = 'z' where id = 1",
        "insert into customers (id, name, email) values (1, 'x', 'y')",
        "select told('update customers set name = null where id = 1')",
        "select told('update customers set note = repeat(''x'', 20)')",
    ] {
        let said = answer(&mut client, statement);
        assert!(
            said.contains("23") || said.contains("44") || said.contains("violates"),
            "{statement}: {said}"
        );
        assert!(said.contains("not shown"), "{statement}: {said}");
        shows_no_true_value(statement, &said);
    }
    let said = answer(&mut shop.admin(), "update customers set name = null where id = 1");
    assert!(said.contains("Failing row contains"), "the application is told: {said}");
}

#[test]
fn a_check_option_is_no_oracle() {
    let shop = open("identify");
    let mut client = shop.person("eve", &[]);
    client
        .batch_execute(
            "create view public.probe as select id, note from customers where iban like 'DE8937%' with check option;
             create view public.masks as select id, note from customers where iban like 'DE89*%' with check option;
             create view public.barrier with (security_barrier) as select id, note from customers where ssn = '078-05-1120'",
        )
        .unwrap();
    assert_eq!(client.execute("update probe set note = 'x'", &[]).unwrap(), 0);
    assert_eq!(client.execute("update masks set note = 'x'", &[]).unwrap(), 1);
    assert_eq!(client.execute("update barrier set note = 'x'", &[]).unwrap(), 0);
    let inserted = refusal(client.execute("insert into probe values (50, 'x')", &[]));
    assert_ne!(inserted.code().code(), "00000");
}

#[test]
fn row_security_sees_true_values_and_its_reader_masks() {
    let shop = open("identify");
    shop.admin()
        .batch_execute(
            "drop view masked.customers;
             alter table customers enable row level security;
             create policy german on customers using (iban like 'DE8937%')",
        )
        .unwrap();
    let mut client = shop.person("eve", &[]);
    assert_eq!(one(&mut client, "select string_agg(iban, ',') from customers").as_deref(), Some(IBAN));
    client.batch_execute("create view public.barrier with (security_barrier) as select id, note from customers where ssn = '078-05-1120'").unwrap();
    assert_eq!(client.execute("update barrier set note = 'x'", &[]).unwrap(), 0);
    assert_eq!(client.execute("update customers set note = 'x'", &[]).unwrap(), 1);
}

#[test]
fn statistics_of_masked_columns_are_not_there() {
    let shop = open("identify");
    shop.admin()
        .batch_execute(
            "create index on customers (lower(iban));
             create statistics s (mcv) on iban, ssn from customers;
             insert into customers select n, 'n', n || 'x@example.com', 'DE89370400440532013000', '078-05-1120' from generate_series(100, 300) n;
             analyze customers",
        )
        .unwrap();
    let mut client = shop.person("eve", &[]);
    for query in [
        "select s::text from pg_stats s",
        "select s::text from pg_stats_ext s",
        "select s::text from pg_stats_ext_exprs s",
    ] {
        shows_no_true_value(query, &answer(&mut client, query));
    }
    let columns =
        "select string_agg(attname, ',' order by attname) from pg_stats where tablename = 'customers'";
    assert_eq!(one(&mut client, columns).as_deref(), Some("id,name,note"));
    let known = one(&mut shop.admin(), columns).unwrap();
    assert!(known.contains("iban"), "{known}");
    let mut dba = shop.admin();
    identify(&mut dba, &shop.issuer.person("dba", &[])).unwrap();
    // The ledger's own statistics may hold the text of the statement that brought the values in.
    let ours = "select s::text from pg_statistic s join pg_class c on c.oid = starelid where c.relnamespace = 'public'::regnamespace";
    assert!(answer(&mut dba, ours).lines().count() > 5, "those of other columns and tables are there");
    for query in [ours, "select s::text from pg_statistic_ext_data s"] {
        shows_no_true_value(query, &answer(&mut dba, query));
    }
}

#[test]
fn estimates_do_not_differ_with_masked_values() {
    let shop = open("identify");
    let mut admin = shop.admin();
    let mut client = shop.person("eve", &[]);
    let mut seen = Vec::new();
    for value in ["'same'", "'different' || n", "'x'"] {
        admin
            .batch_execute(&format!(
                "truncate customers cascade;
                 insert into customers (id, name, email, ssn) select n, 'n', n, rpad({value}, 30, '.') from generate_series(1, 1000) n"
            ))
            .unwrap();
        admin.batch_execute("vacuum analyze customers").unwrap();
        let mut plans = String::new();
        for query in [
            "select ssn, count(*) from customers group by ssn",
            "select * from customers where ssn = 'x'",
            "select a.id from customers a join customers b on a.ssn = b.ssn",
            "select ssn from customers where id < 10",
            "select id, low, ssn from customers where ssn is null and name = 'n'",
        ] {
            plans += &answer(&mut client, &format!("explain {query}"));
        }
        seen.push(plans);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[test]
fn who_sees_masks_does_not_have_true_values_checked_indexed_or_given_to_code() {
    let shop = open("identify");
    shop.admin()
        .batch_execute(
            "alter table customers owner to readonly; alter table orders owner to readonly;
             create table wider (id bigint); alter table wider owner to readonly;
             create table whole (like customers including generated) partition by range (id); alter table whole owner to readonly;
             create domain word as text; alter domain word owner to readonly; grant create on database shop to readonly",
        )
        .unwrap();
    let mut client = shop.person("eve", &[]);
    client.batch_execute("create function public.spy() returns trigger language plpgsql as $$ begin raise notice '%', old; return new; end $$").unwrap();
    for statement in [
        "create trigger spy before update on customers for each row execute function spy()",
        "create rule spy as on update to customers do also insert into orders values (1)",
        "create policy spy on customers using (iban like 'DE8937%')",
        "create index on customers (iban)",
        "create unique index on customers (id, ssn)",
        "create index on customers (id) where iban like 'DE8937%'",
        "create index on customers (lower(note))",
        "create statistics spy on iban, id from customers",
        "alter table customers add check (iban like 'DE8937%')",
        "alter table customers add check (iban like 'DE8937%') not valid",
        "alter table customers alter iban type text using upper(iban)",
        "alter table customers alter id type text using iban",
        "alter table customers add copied text generated always as (iban) stored",
        "alter table customers add unique (iban)",
        "alter table customers add exclude (iban with =)",
        "create table public.probe (x text references customers (email))",
        "create table public.probe (x text, foreign key (x) references customers (email))",
        "create table public.probe (x text references customers)",
        "alter table orders add foreign key (customer_id) references customers",
        "alter table orders add column x text references customers (email)",
        "alter domain word add check (value <> 'x')",
        "alter table customers inherit wider",
        "alter table whole attach partition customers for values from (0) to (9)",
    ] {
        let said = answer(&mut client, statement);
        assert!(said.starts_with("42501"), "{statement}: {said}");
    }
    for statement in [
        "create index on customers (note)",
        "alter table customers add column extra int default 3",
        "alter table customers alter note set not null",
        "alter table customers rename note to remark",
        "alter table orders add foreign key (id) references customers (id) not valid",
        "create view public.fine as select iban from customers",
        "comment on table customers is 'people'",
        "analyze verbose customers",
    ] {
        let said = answer(&mut client, statement);
        assert!(!said.starts_with("42501"), "{statement}: {said}");
        shows_no_true_value(statement, &said);
    }
    let mut sam = shop.person("sam", &["support"]);
    let ssn = answer(&mut sam, "create index on customers (iban)");
    assert_eq!(ssn, "(0)\n", "who sees a column may have it indexed");
}

#[test]
fn foreign_keys_are_checked_with_true_values_and_lend_their_rights_to_nobody() {
    let shop = open("identify");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create table accounts (iban text primary key); grant all on accounts to readonly;
             insert into accounts select iban from customers where iban is not null;
             alter table customers add foreign key (iban) references accounts on update cascade;
             select mask.protect('accounts', 'iban', 'null_value');",
        )
        .unwrap();
    let mut client = shop.person("eve", &[]);
    client.batch_execute("insert into accounts values ('NEW')").unwrap();
    client.batch_execute("update customers set iban = 'NEW' where id = 4").unwrap();
    assert_eq!(
        refusal(client.execute("update customers set iban = 'NONE' where id = 4", &[])).code().code(),
        "23503"
    );
    client
        .batch_execute(
            "create table public.parent (id int primary key); create table public.child (id int references parent on delete cascade);
             create table public.loot (v text);
             insert into parent values (1); insert into child values (1);
             create function public.spy() returns trigger language plpgsql as $$
                 declare v text; begin execute 'select iban from customers where id = 1' into v;
                 raise exception 'seen %', v; end $$;
             create trigger spy before delete on child for each row execute function spy()",
        )
        .unwrap();
    let said = answer(&mut client, "delete from parent");
    assert!(said.contains(&format!("seen {IBAN}")), "{said}");
    shows_no_true_value("a trigger below a cascade", &said);
}

#[test]
fn parallel_workers_show_no_more_than_their_leader() {
    let shop = open("identify");
    shop.admin()
        .batch_execute(
            "insert into customers (id, name, email, ssn) select n, 'n', n, '078-05-1120' from generate_series(1000, 30000) n;
             alter table customers set (parallel_workers = 2); analyze customers",
        )
        .unwrap();
    let mut client = shop.person("eve", &[]);
    client
        .batch_execute(
            "set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
             create function public.peek(n bigint) returns text language plpgsql stable parallel safe as
                 $$ begin return (select ssn || iban from customers where id = n); end $$",
        )
        .unwrap();
    let plan = answer(
        &mut client,
        "explain (costs off) select count(*) from customers where ssn is null and email like '%x%'",
    );
    assert!(plan.contains("Parallel"), "masked scans run in parallel: {plan}");
    assert_eq!(one(&mut client, "select count(ssn)::text from customers").as_deref(), Some("0"));
    let plan = answer(&mut client, "explain (costs off) select peek(id) from customers");
    assert!(!plan.contains("Parallel"), "{plan}");
    shows_no_true_value("peek", &answer(&mut client, "select max(peek(id)) from customers"));
    let force = if client.simple_query("set force_parallel_mode = on").is_ok() {
        ""
    } else {
        "set debug_parallel_query = on"
    };
    client.batch_execute(force).unwrap();
    shows_no_true_value("peek, forced", &answer(&mut client, "select peek(1)"));
}

#[test]
fn partitions_and_heirs_are_masked_with_their_parents() {
    let shop = open("identify");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create table parts (id int, secret text) partition by range (id);
             create table parts_1 partition of parts for values from (0) to (10);
             create table parts_2 (secret text, dropped int, id int); alter table parts_2 drop dropped;
             alter table parts attach partition parts_2 for values from (10) to (20);
             insert into parts values (1, 'true one'), (11, 'true two');
             grant all on parts, parts_1, parts_2 to readonly;
             select mask.protect('parts', 'secret', 'partial(1, ''*'', 0)')",
        )
        .unwrap();
    admin
        .batch_execute(
            "create table base (id int, v text); create table heir (extra text, primary key (id)) inherits (base);
             insert into heir values (1, 'true heir', 'x'); grant all on base, heir to readonly;
             select mask.protect('heir', 'v', 'null_value')",
        )
        .unwrap();
    let mut client = shop.person("eve", &[]);
    for query in [
        "select * from base",
        "select v from heir",
        "select b from base b",
        "update base set id = 2 returning *",
    ] {
        let said = answer(&mut client, query);
        assert!(!said.contains("true"), "{query}: {said}");
    }
    for query in [
        "select * from parts",
        "select p from parts p",
        "select secret from only parts",
        "copy parts_1 to stdout",
    ] {
        let said = answer(&mut client, query);
        assert!(query.contains("copy") || !said.contains("true"), "{query}: {said}");
    }
    assert_eq!(client.execute("update parts set id = id + 10 where secret = 'true one'", &[]).unwrap(), 0);
    assert_eq!(client.execute("update parts set id = id + 11 where id = 1", &[]).unwrap(), 1);
    assert_eq!(
        one(&mut admin, "select string_agg(secret, ',' order by id) from parts").as_deref(),
        Some("true two,true one")
    );
}

#[test]
fn the_record_says_what_was_masked_and_what_was_revealed() {
    let shop = open("identify");
    shop.person("eve", &[]).batch_execute("select 'mark1', iban, id from customers").unwrap();
    shop.person("sam", &["support"]).batch_execute("select 'mark2', iban, ssn from customers").unwrap();
    shop.admin().batch_execute("select 'mark3', iban from customers").unwrap();
    let _ = shop.person("eve", &[]).simple_query("update customers set note = iban -- mark4");
    let eve = shop.the_record("'mark1'");
    assert_eq!((eve.field("iban"), eve.field("ssn")), ("masked", ""));
    let sam = shop.the_record("'mark2'");
    assert_eq!((sam.field("iban"), sam.field("ssn")), ("revealed", "masked"));
    assert_eq!(shop.the_record("'mark3'").field("iban"), "revealed");
    let refused = shop.the_record("mark4");
    assert_eq!((refused.outcome(), refused.sqlstate.as_deref()), ("denied", Some("42501")));
}

#[test]
fn types_keep_their_domains_modifiers_and_collations() {
    let shop = open("identify");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "create domain strict_iban as varchar(34) check (value ~ '^[A-Z]{2}[0-9A-Z]+$') ;
             create table typed (id int primary key, d strict_iban, c char(6), v varchar(8), x text collate \"C\", n strict_iban not null);
             insert into typed values (1, 'DE89370400440532013000', 'abcdef', 'ABCDEFGH', 'abc', 'DE1');
             grant select on typed to readonly;
             select mask.protect('typed', column_name, 'partial(2, ''--------'', 2)') from unnest(array['d', 'c', 'v', 'x']::name[]) column_name;
             select mask.protect('typed', 'n', 'null_value')",
        )
        .unwrap();
    let mut client = shop.person("eve", &[]);
    let said = answer(&mut client, "select * from typed");
    assert_eq!(said, "1|DE--------00|ab----|AB------|--------|NULL\n(1)\n");
    assert_eq!(answer(&mut client, "select x from typed order by x collate \"C\", x"), "--------\n(1)\n");
    assert_eq!(
        answer(&mut client, "select t from typed t"),
        "(1,DE--------00,ab----,AB------,--------,)\n(1)\n"
    );
    let prepared = client.prepare("select d, c, v, n from typed").unwrap();
    assert_eq!(client.query(&prepared, &[]).unwrap().len(), 1);
}
