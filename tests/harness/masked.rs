//! One set of tables four times, to tell whether what is masked comes out.
//!
//! | database | tables hold | policies | its reader |
//! |---|---|---|---|
//! | live | true values | yes | an enrolled role: a masked person, or one to whom all is revealed |
//! | twin | other values with the same masks | yes | the same |
//! | copy | masks, put there by UPDATE | no | nobody in particular, masked by what the tables hold |
//! | plain | true values | no | nobody in particular |
//!
//! So a masked person in `live` must be told what is told in `copy` (differential) and in `twin` (non-interference), and
//! a cleared one what is told in `plain`. All four are copies of one database, with the same OIDs.

use super::token::{AUDIENCE, Algorithm, ISSUER, Signer, claims_but, now};
use super::transcript::Session;
use super::{Cluster, Wanted, custodian};
use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;
use std::fmt::Write as _;

pub struct Column {
    pub table: &'static str,
    pub name: &'static str,
    pub masking: &'static str,
    /// Another value with the same mask, as an expression; the value is called v, its row t.
    pub other: &'static str,
}

const fn column(
    table: &'static str,
    name: &'static str,
    masking: &'static str,
    other: &'static str,
) -> Column {
    Column { table, name, masking, other }
}

/// What is masked, all of it revealed to the group `support`.
pub const COLUMNS: &[Column] = &[
    column("customers", "email", "email", "replace(v, 'inter', 'onderful')"),
    column("customers", "iban", "partial(4, '****', 4)", "left(v, 4) || reverse(v) || right(v, 4)"),
    column(
        "customers",
        "ssn",
        "null_value",
        "case when t.id % 3 = 0 then null else t.id || '-' || coalesce(v, 'x') end",
    ),
    // Keyed masks show equality: nothing else has the same mask.
    column("customers", "member", "hash", "v"),
    column(
        "customers",
        "born",
        "year",
        "make_date(extract(year from v)::int, 1 + t.id * 5 % 12, 2 + (t.id + extract(day from v)::int) % 27)",
    ),
    column("customers", "credit", "range(500)", "floor(v / 500) * 500 + (v * 3 + t.id * 7.25) % 500"),
    column(
        "customers",
        "profile",
        "jsonb_paths('{secret}')",
        "v || jsonb_build_object('secret', repeat('x', t.id))",
    ),
    column("orders", "card", "partial(0, '****-', 4)", "'5' || left(v, length(v) - 4) || right(v, 4)"),
    column("staff", "salary", "range(1000)", "v - v % 1000 + (v + 37 * t.id) % 1000"),
    column("staff", "email", "email", "replace(v, '.office', '.outside')"),
    column(
        "staff",
        "pay",
        "null_value",
        "row(coalesce((v).amount, 0) * 3 - t.id, 'PTE')::public.sum_of_money",
    ),
    column(
        "staff",
        "feels",
        "constant('calm')",
        "(array['calm', 'glad', 'cross'])[1 + (t.id + 1) % 3]::public.mood",
    ),
    column("visits", "who", "partial(3, '*', 0)", "left(v, 3) || md5(v)"),
    column(
        "visits",
        "address",
        "ip",
        "set_masklen(network(set_masklen(v, 24))::inet + (t.id * 5 + 17) % 256, masklen(v))",
    ),
    column("things", "serial", "partial(2, '##', 2)", "left(v, 2) || upper(v) || right(v, 2)"),
    column("memos", "body", "partial(4, '...', 0)", "left(v, 4) || md5(v)"),
    column("readings", "device", "token", "v"),
    column(
        "readings",
        "owner",
        "name",
        "regexp_replace(v, '([A-Z])[a-z]+', '\\1' || repeat('q', 1 + t.id % 4), 'g')",
    ),
    column("readings", "phone", "phone", "overlay(v placing (100 + t.id * 37 % 900)::text from 5 for 3)"),
    column("readings", "remark", "redact", "replace(v, 'inter', 'onderful' || t.id)"),
    column("readings", "note", "constant('hidden')", "md5(v)"),
    column(
        "readings",
        "marks",
        "partial(1, '*', 0)",
        "(select array_agg(left(m, 1) || md5(m) order by n) from unnest(v) with ordinality as u (m, n))",
    ),
    column("readings", "level", "noise(10)", "v"),
    column("readings", "weight", "range(5)", "floor(v / 5) * 5 + (t.id * 7 + 3) % 40 / 8.0"),
    column("readings", "charge", "range(0.5)", "floor(v * 2) / 2 + (t.id * 7 + 3) % 50 / 100.0"),
    column("readings", "taken", "month", "date_trunc('month', v)::date + t.id * 5 % 28"),
    column("readings", "seen", "year", "date_trunc('year', v) + t.id * interval '9 days 3 hours'"),
    column("readings", "net", "ip", "case when v is not null then ('10.20.' || t.id || '.192/26')::cidr end"),
    column("readings", "raw", "hash", "v"),
    column("vault", "code", "partial(1, '*', 0)", "left(v, 1) || (t.id * 711 + 3) || '-other-code'"),
    column("vault", "spent", "null_value", "t.id * 13"),
    column("lab.owned", "code", "partial(1, '*', 0)", "left(v, 1) || (t.id * 911 + 3) || '-other-code'"),
];

impl Column {
    /// Whether the masked copy has it: what only attacks are made on has a unique constraint, which masks would not meet.
    pub fn is_copied(&self) -> bool {
        !["vault", "lab.owned"].contains(&self.table)
    }

    /// The mask of a value, as an expression of the column's type.
    pub fn mask(&self, value: &str, kind: &str) -> String {
        if self.masking == "null_value" {
            return format!("null::{kind}");
        }
        let (name, arguments) = self.masking.split_once('(').unwrap_or((self.masking, ")"));
        let arguments = match (name, arguments) {
            (_, ")") => arguments.to_string(),
            ("jsonb_paths", paths) => format!(", array[{}])", paths.trim_end_matches(')')),
            _ => format!(", {arguments}"),
        };
        let taken = if ["address", "character varying"].iter().any(|text| kind.starts_with(text)) {
            "text"
        } else {
            kind
        };
        format!("mask.{name}(({value})::{taken}{arguments}::{kind}")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// An enrolled role and a person without groups.
    Masked,
    /// The same role and a person of the group to whom all is revealed.
    Cleared,
    /// The role where it is not enrolled, and nobody.
    Nobody,
}

pub struct World {
    pub cluster: Cluster,
    issuer: Signer,
    pub version: i32,
    /// The highest OID that is the same in all databases.
    newest: i32,
}

impl World {
    pub fn open() -> Self {
        Self::open_on(custodian())
    }

    pub fn open_on(server: Wanted) -> Self {
        let cluster = server
            // Plans depend on nothing that happens in between.
            .conf("autovacuum = off")
            .conf("max_parallel_workers = 8")
            .conf("timezone = 'UTC'")
            .start();
        let world = Self { cluster, issuer: Signer::new(Algorithm::ES256), version: 0, newest: 0 };
        let mut admin = world.cluster.superuser("postgres");
        admin.batch_execute("create database base").unwrap();
        world.cluster.superuser("base").batch_execute(include_str!("../masking_shapes/setup.sql")).unwrap();
        for name in ["live", "twin", "copy", "plain"] {
            world.create(name);
        }
        change(&mut world.admin("twin"), |column, _| column.other.to_string(), false);
        change(&mut world.admin("copy"), |column, kind| column.mask("v", kind), true);
        for name in ["live", "twin"] {
            world.govern(name);
        }
        for name in ["live", "twin", "copy", "plain"] {
            world.pack(name);
        }
        world.check();
        let version = "select current_setting('server_version_num')::int / 10000";
        let version = admin.query_one(version, &[]).unwrap().get(0);
        let newest = "select max(oid)::bigint::int from pg_class";
        let newest = world.admin("base").query_one(newest, &[]).unwrap().get(0);
        Self { version, newest, ..world }
    }

    /// A copy of the tables, with the key of `live`.
    fn create(&self, name: &str) {
        let mut admin = self.admin("postgres");
        super::wait_for("the template to be free", || {
            admin.batch_execute(&format!("create database {name} template base")).is_ok()
        });
        self.admin(name).batch_execute("create extension pg_custodian").unwrap();
        let key: String =
            self.admin("live").query_one("select key from mask.secret_key", &[]).unwrap().get(0);
        self.admin(name).execute("update mask.secret_key set key = $1", &[&key]).unwrap();
    }

    /// Another `live`: what is answered differently there does not come from the values.
    pub fn add_control(&self) {
        self.create("control");
        self.govern("control");
        self.pack("control");
    }

    /// Leaves no room in the tables, and has them known. Catalogs, too, are locked for it one after the other, and who
    /// looks things up at the time, the ledger writer, may hold one and want another.
    fn pack(&self, database: &str) {
        let mut admin = self.admin(database);
        super::wait_for("the tables to be packed", || match admin.batch_execute("vacuum (full, analyze)") {
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => false,
            packed => {
                packed.unwrap();
                true
            }
        });
    }

    /// The superuser.
    pub fn admin(&self, database: &str) -> Client {
        self.cluster.superuser(database)
    }

    fn govern(&self, database: &str) {
        let mut admin = self.admin(database);
        admin
            .execute(
                "select custodian.trust_issuer($1, $2, array[$3])",
                &[&ISSUER, &self.issuer.jwks(), &AUDIENCE],
            )
            .unwrap();
        for column in COLUMNS {
            self.protect(&mut admin, column);
        }
        admin.execute("select custodian.enroll('reader', 'identify')", &[]).unwrap();
    }

    pub fn protect(&self, admin: &mut Client, column: &Column) {
        let relation = column.table;
        admin
            .execute(
                "select mask.protect($1::text::regclass, $2::text::name, $3, array['support'])",
                &[&relation, &column.name, &column.masking],
            )
            .unwrap();
    }

    pub fn unprotect(&self, database: &str, column: &Column) {
        let relation = column.table;
        self.admin(database)
            .execute("select mask.unprotect($1::text::regclass, $2::text::name)", &[&relation, &column.name])
            .unwrap();
    }

    pub fn token(&self, user: &str, groups: &[&str]) -> String {
        // Long enough for a night of random statements.
        self.issuer.sign(&claims_but(user, groups, json!({ "exp": now() + 11 * 3600 })))
    }

    pub fn session(&self, database: &str, who: Who) -> Session {
        let mut session = Session::connect(&self.cluster, "reader", database);
        session.newest = self.newest;
        self.identify(&mut session, who);
        session
    }

    pub fn identify(&self, session: &mut Session, who: Who) {
        let token = match who {
            Who::Masked => self.token("mallory", &[]),
            Who::Cleared => self.token("alice", &["support"]),
            Who::Nobody => return,
        };
        let said = session.run(&format!("select custodian.set_identity('{token}')"));
        assert!(!said.contains("ERROR"), "{said}");
    }

    /// Every value of `live` that is masked, as text, if nothing that may be shown is the same.
    pub fn secrets(&self) -> Vec<String> {
        let mut admin = self.admin("live");
        let mut secrets: Vec<String> = Vec::new();
        for column in COLUMNS {
            let Column { table, name, .. } = column;
            let rows = admin
                .query(&format!("select distinct {name}::text from {table} where {name} is not null"), &[])
                .unwrap();
            secrets.extend(rows.iter().map(|row| row.get::<_, String>(0)).filter(|text| text.len() > 4));
        }
        secrets
    }

    /// The four databases are what they are said to be.
    fn check(&self) {
        let masks = |database: &str, masked: bool, copied: bool| -> Vec<String> {
            let mut admin = self.admin(database);
            let shown = COLUMNS.iter().filter(|column| !copied || column.is_copied()).map(|column| {
                let Column { table, name, .. } = column;
                let kind = type_of(&mut admin, table, name);
                let value = if masked { column.mask(name, &kind) } else { format!("{name}::{kind}") };
                let query =
                    format!("select string_agg(({value})::text, ',' order by tableoid, id) from {table}");
                let shown: Option<String> = admin.query_one(&query, &[]).unwrap().get(0);
                format!("{table}.{name} {shown:?}")
            });
            shown.collect()
        };
        assert_eq!(masks("live", true, true), masks("copy", false, true), "the copy holds the masks");
        assert_eq!(masks("live", true, false), masks("twin", true, false), "the twin has the same masks");
        assert_eq!(masks("live", false, false), masks("plain", false, false));
        let (live, twin) = (masks("live", false, false), masks("twin", false, false));
        for ((column, live), twin) in COLUMNS.iter().zip(live).zip(twin) {
            assert_eq!(live == twin, column.other == "v", "{}.{}", column.table, column.name);
        }
        for database in ["live", "twin", "copy", "plain"] {
            let pages: i32 = self
                .admin(database)
                .query_one(
                    "select max(relpages) from pg_class where relkind = 'r' and relnamespace in ('public'::regnamespace, 'lab'::regnamespace)",
                    &[],
                )
                .unwrap()
                .get(0);
            assert_eq!(pages, 1, "tables of {database} fit in a page");
        }
    }
}

fn type_of(admin: &mut Client, table: &str, name: &str) -> String {
    let query = "select format_type(atttypid, atttypmod) from pg_attribute
                 where attrelid = $1::text::regclass and attname = $2::text::name";
    admin.query_one(query, &[&table, &name]).unwrap().get(0)
}

/// Puts the rows of a table with a primary key where they are in all databases, however much the changed ones need.
fn in_order(admin: &mut Client, table: &str) {
    let key = "select conname::text from pg_constraint where conrelid = $1::text::regclass and contype = 'p'";
    if let Some(key) = admin.query_opt(key, &[&table]).unwrap() {
        let key: String = key.get(0);
        admin
            .batch_execute(&format!("cluster {table} using {key}; alter table {table} set without cluster"))
            .unwrap();
    }
}

/// Replaces each masked value by another, and has what is written from now on replaced too if it is `for_good`.
fn change(admin: &mut Client, value: impl Fn(&Column, &str) -> String, for_good: bool) {
    let columns = || COLUMNS.iter().filter(|column| !for_good || column.is_copied());
    let mut tables: Vec<&str> = columns().map(|column| column.table).collect();
    tables.dedup();
    for table in tables {
        let (mut set, mut written) = (Vec::new(), String::new());
        for column in columns().filter(|column| column.table == table) {
            let kind = type_of(admin, table, column.name);
            let name = column.name;
            let new = value(column, &kind);
            set.push(format!(
                "{name} = (select {new} from (select t.{name}::{} as v) as old)",
                kind.replace("address", "text")
            ));
            if for_good {
                writeln!(
                    written,
                    "if tg_op = 'INSERT' or new.{name} is distinct from old.{name} then new.{name} := {}; end if;",
                    column.mask(&format!("new.{name}"), &kind)
                )
                .unwrap();
            }
        }
        admin.batch_execute(&format!("update {table} as t set {}", set.join(", "))).unwrap();
        in_order(admin, table);
        if for_good {
            admin
                .batch_execute(&format!(
                    "create function public.mask_{name}() returns trigger language plpgsql security definer
                     set search_path = public as $$begin {written} return new; end$$;
                     create trigger a_mask before insert or update on {table}
                         for each row execute function public.mask_{name}()",
                    name = table.replace('.', "_")
                ))
                .unwrap();
            // A parent's trigger is not its children's, unless they are partitions.
            if table == "things" {
                admin
                    .batch_execute(
                        "create trigger a_mask before insert or update on machines
                             for each row execute function public.mask_things()",
                    )
                    .unwrap();
            }
        }
    }
}
