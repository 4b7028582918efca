//! The situation most tests start from: a shop whose staff share the login `readonly`, an issuer of
//! tokens that the shop trusts, and customers some of whose fields are masked.

use super::command::{cpu_ticks, is_stopped, signal};
use super::token::{AUDIENCE, Algorithm, ISSUER, Signer, random_text};
use super::{Cluster, Wanted, custodian, refusal, wait_for};
use postgres::{Client, SimpleQueryMessage};
use std::collections::HashMap;
use std::thread::{self, JoinHandle};

pub struct Shop {
    pub cluster: Cluster,
    pub issuer: Signer,
    password: String,
}

/// A shop whose shared role is in this mode: `observe`, `identify` or `govern`.
pub fn open(mode: &str) -> Shop {
    open_on(custodian(), mode)
}

pub fn open_on(server: Wanted, mode: &str) -> Shop {
    open_in(server.start(), mode)
}

/// A shop on a server that runs.
pub fn open_in(cluster: Cluster, mode: &str) -> Shop {
    let shop = Shop { cluster, issuer: Signer::new(Algorithm::RS256), password: random_text(16) };
    shop.cluster.create_database("shop");
    let mut admin = shop.admin();
    admin.batch_execute(include_str!("shop.sql")).unwrap();
    admin
        .batch_execute(&format!(
            "create role readonly login password '{}';
             grant select on public.orders to readonly;",
            shop.password
        ))
        .unwrap();
    shop.trust(&mut admin, &shop.issuer);
    admin
        .batch_execute(
            "select mask.protect('public.customers', 'iban', 'partial(4, ''**************'', 4)', array['support']);
             select mask.protect('public.customers', 'ssn', 'null_value');
             select mask.protect('public.customers', 'email', 'email', array['support']);
             select mask.generate_view('public.customers');
             grant usage on schema masked to readonly;
             grant select on masked.customers to readonly;",
        )
        .unwrap();
    admin.execute("select custodian.enroll('readonly', $1)", &[&mode]).unwrap();
    shop
}

impl Shop {
    /// The superuser in the shop's database.
    pub fn admin(&self) -> Client {
        self.cluster.superuser("shop")
    }

    /// The shared login, nobody having said who he is.
    pub fn readonly(&self) -> Client {
        self.cluster.login("readonly", &self.password, "shop")
    }

    /// The shared login on another server of this shop's, a standby.
    pub fn readonly_on(&self, cluster: &Cluster) -> Client {
        cluster.login("readonly", &self.password, "shop")
    }

    /// The shared login with start-up options.
    pub fn try_readonly(&self, options: &str) -> Result<Client, postgres::Error> {
        self.cluster.try_login("readonly", &self.password, "shop", options)
    }

    /// The shared login in the hands of a person.
    pub fn person(&self, user: &str, groups: &[&str]) -> Client {
        let mut client = self.readonly();
        identify(&mut client, &self.issuer.person(user, groups)).unwrap();
        client
    }

    /// What psql says to a command of a person's on the shared login.
    pub fn psql(&self, user: &str, groups: &[&str], command: &str) -> String {
        let identify = format!("select custodian.set_identity('{}')", self.issuer.person(user, groups));
        let said = super::command::plain(&self.cluster.path_of("psql"))
            .args([
                "-X",
                "-h",
                "127.0.0.1",
                "-p",
                &self.cluster.port().to_string(),
                "-U",
                "readonly",
                "-d",
                "shop",
            ])
            .args(["-c", &identify, "-c", command])
            .env("PGPASSWORD", &self.password)
            .run();
        said.stdout + &said.stderr
    }

    /// Tells a program by its environment where the shop is, and the password of the shared login.
    pub fn introduce<'a>(&self, program: &'a mut super::command::Program) -> &'a mut super::command::Program {
        program
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.cluster.port().to_string())
            .env("PGUSER", "readonly")
            .env("PGDATABASE", "shop")
            .env("PGPASSWORD", &self.password)
    }

    pub fn trust(&self, admin: &mut Client, issuer: &Signer) {
        admin
            .execute(
                "select custodian.trust_issuer($1, $2, array[$3])",
                &[&ISSUER, &issuer.jwks(), &AUDIENCE],
            )
            .unwrap();
    }

    /// What the ledger says of the statements whose text contains `part`, oldest first.
    pub fn recorded(&self, part: &str) -> Vec<Statement> {
        let mut admin = self.admin();
        sync(&mut admin);
        admin
            .query(
                "select user_id, user_email, session_role::text, command, outcome, sqlstate, parameters, rows,
                        objects, fields, coalesce(cardinality(grants), 0) as grants
                 from audit.statements
                 where position($1 in statement) > 0 and statement not like '%audit.statements%'
                 order by seq",
                &[&part],
            )
            .unwrap()
            .iter()
            .map(|row| Statement {
                user_id: row.get("user_id"),
                user_email: row.get("user_email"),
                session_role: row.get("session_role"),
                command: row.get("command"),
                outcome: row.get("outcome"),
                sqlstate: row.get("sqlstate"),
                parameters: row.get("parameters"),
                rows: row.get("rows"),
                objects: row.get("objects"),
                fields: row.get("fields"),
                grants: row.get("grants"),
            })
            .collect()
    }

    /// The one record of a statement whose text contains `part`.
    #[track_caller]
    pub fn the_record(&self, part: &str) -> Statement {
        let mut found = self.recorded(part);
        assert_eq!(found.len(), 1, "records of {part:?}: {found:#?}");
        found.remove(0)
    }
}

/// A row of audit.statements, as far as the tests look at it.
#[derive(Debug)]
pub struct Statement {
    pub user_id: Option<String>,
    pub user_email: Option<String>,
    pub session_role: Option<String>,
    pub command: Option<String>,
    pub outcome: Option<String>,
    pub sqlstate: Option<String>,
    pub parameters: Option<Vec<Option<String>>>,
    pub rows: Option<i64>,
    pub objects: Option<Vec<String>>,
    pub fields: Option<serde_json::Value>,
    pub grants: i32,
}

impl Statement {
    pub fn outcome(&self) -> &str {
        self.outcome.as_deref().unwrap_or_default()
    }

    pub fn user(&self) -> &str {
        self.user_id.as_deref().unwrap_or_default()
    }

    /// How a column was shown: "masked", "revealed" or nothing.
    pub fn field(&self, column: &str) -> &str {
        self.fields.as_ref().and_then(|fields| fields[column].as_str()).unwrap_or_default()
    }
}

pub fn identify(client: &mut Client, token: &str) -> Result<u64, postgres::Error> {
    client.execute("select custodian.set_identity($1)", &[&token])
}

/// Waits until so many statements of other sessions are beyond all judgement: asleep, waiting for parallel workers,
/// held up by a client that does not read, or busy for longer than planning takes.
///
/// # Arguments
/// * `of` - whose: a condition on custodian.live_sessions(), say `user_id = 'alice'`
pub fn wait_until_under_way(admin: &mut Client, of: &str, statements: usize) {
    const TICKS: u64 = 6;
    let query = format!(
        "select pid, coalesce(wait_event in ('PgSleep', 'ExecuteGather', 'ClientWrite'), false)
         from custodian.live_sessions() join pg_stat_activity using (pid)
         where running_since is not null and pid <> pg_backend_pid() and {of}"
    );
    let mut first_seen = HashMap::new();
    wait_for("the statements", || {
        let running = admin.query(&query, &[]).unwrap();
        let under_way = running.iter().filter(|row| {
            let pid = row.get::<_, i32>(0) as u32;
            let used = cpu_ticks(pid);
            row.get(1) || used.saturating_sub(*first_seen.entry(pid).or_insert(used)) >= TICKS
        });
        under_way.count() == statements
    });
}

/// Somebody whose statement sleeps for longer than the test lasts, and whom nobody has a reason to stop.
pub struct Sleeper {
    pid: i32,
    running: JoinHandle<Result<Vec<SimpleQueryMessage>, postgres::Error>>,
}

impl Sleeper {
    pub fn new(mut client: Client, statement: &str) -> Self {
        let pid = client.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
        let statement = statement.to_string();
        Self { pid, running: thread::spawn(move || client.simple_query(&statement)) }
    }

    /// Wakes him, and says whether he slept until then.
    pub fn slept_on(self, admin: &mut Client) -> bool {
        admin.execute("select pg_cancel_backend($1)", &[&self.pid]).unwrap();
        let error = refusal(self.end());
        error.message() == "canceling statement due to user request"
    }

    /// Waits for the end of his statement.
    pub fn end(self) -> Result<Vec<SimpleQueryMessage>, postgres::Error> {
        self.running.join().unwrap()
    }
}

/// Waits until the ledger has what was journalled, for longer than one would on a machine of one's own.
pub fn sync(admin: &mut Client) {
    admin.execute("select audit.sync('180 s')", &[]).unwrap();
}

/// Stops the ledger writer of this database for good while it rests, outside of any transaction, and returns its pid.
/// Nothing but kill -9 ends it: whatever is done to the ledger until then, it does not write behind that.
pub fn freeze_writer(admin: &mut Client) -> u32 {
    let find = "select pid from pg_stat_activity
                where backend_type = 'pg_custodian ledger writer' and datname = current_database()";
    let rests =
        "select exists (select from pg_stat_activity where pid = $1 and wait_event_type = 'Extension')";
    let mut frozen = None;
    wait_for("the ledger writer to rest", || {
        let Some(pid) = admin.query(find, &[]).unwrap().first().map(|row| row.get::<_, i32>(0)) else {
            return false;
        };
        let process = u32::try_from(pid).unwrap();
        signal(process, "STOP");
        wait_for("the ledger writer to stop", || is_stopped(process));
        let stopped_at_rest: bool = admin.query_one(rests, &[&pid]).unwrap().get(0);
        if stopped_at_rest {
            frozen = Some(process);
        } else {
            signal(process, "CONT");
        }
        stopped_at_rest
    });
    frozen.unwrap()
}

/// Whether the ledger's chain holds.
pub fn verified(admin: &mut Client) -> bool {
    admin.query_one("select ok from audit.verify()", &[]).unwrap().get(0)
}
