//! A token's text is nowhere: every form in which it can be presented, and every place in which
//! PostgreSQL and its neighbours keep or print what was presented.
//!
//! Each form gets a token of its own, so that a find tells which form it came from. Prints how many
//! forms and places were searched (`--nocapture`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify};
use harness::{command, custodian, wait_for};
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Every setting that makes a server talkative.
const TALKATIVE: [&str; 23] = [
    "logging_collector = on",
    "log_directory = 'log'",
    "log_statement = all",
    "log_min_duration_statement = 0",
    "log_duration = on",
    "log_parameter_max_length = -1",
    "log_parameter_max_length_on_error = -1",
    "log_min_messages = debug2",
    "log_min_error_statement = debug5",
    "log_error_verbosity = verbose",
    "log_connections = on",
    "log_disconnections = on",
    "debug_print_parse = on",
    "debug_print_rewritten = on",
    "debug_print_plan = on",
    "track_activity_query_size = 64kB",
    "compute_query_id = on",
    "pg_stat_statements.track = all",
    "pg_stat_statements.track_planning = on",
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_analyze = on",
    "auto_explain.log_verbose = on",
    "auto_explain.log_nested_statements = on",
];

/// An advisory lock, and how a statement waits for it until the end of its transaction.
const LOCK: i32 = 4711;
const WAIT: &str = "pg_advisory_xact_lock(4711)";

struct Hunt {
    shop: Shop,
    /// Form, and parts of its token that no other text has.
    needles: Vec<(String, [String; 2])>,
    /// Where was searched, and how often.
    places: BTreeMap<String, usize>,
    found: Vec<String>,
    colleague: Client,
}

impl Hunt {
    fn begin(libraries: [&str; 3]) -> Hunt {
        let mut server = custodian().preload(&libraries);
        for line in TALKATIVE {
            server = server.conf(line);
        }
        // From 15 on.
        let json = !command::plain(&bin("postgres")).arg("--version").succeed().stdout.contains(" 14.");
        server =
            server.conf(&format!("log_destination = 'stderr,csvlog{}'", if json { ",jsonlog" } else { "" }));
        let shop = shop::open_on(server, "identify");
        let mut admin = shop.admin();
        admin
            .batch_execute(
                "create extension pg_stat_statements;
                 create table public.narrow (t text check (length(t) < 5), n int);
                 create function public.present(t text) returns void language plpgsql as
                     'begin perform custodian.set_identity(t); end';
                 create function public.present_dynamically(t text) returns void language plpgsql as
                     'begin execute format(''select custodian.set_identity(%L)'', t); end';
                 grant insert on public.narrow to readonly;",
            )
            .unwrap();
        let colleague = shop.person("colleague", &[]);
        Hunt { shop, needles: Vec::new(), places: BTreeMap::new(), found: Vec::new(), colleague }
    }

    /// A token for a form, good or with a broken signature.
    fn token(&mut self, form: &str, good: bool) -> String {
        let mut token = self.shop.issuer.person("alice", &["support"]);
        if !good {
            let last = token.pop().unwrap();
            token.push(if last == 'A' { 'Q' } else { 'A' });
        }
        let [_, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        // Of the payload the part in which "jti" stands: the rest is the same in all of them.
        let unique = &payload[payload.len() - 72..payload.len() - 46];
        let needles = [unique.to_string(), signature[40..80].to_string()];
        let shared = self.needles.iter().any(|(_, others)| others[0] == needles[0]);
        assert!(!shared, "{unique} is in two tokens");
        self.needles.push((form.to_string(), needles));
        token
    }

    fn search(&mut self, place: &str, text: &[u8]) {
        *self.places.entry(place.to_string()).or_default() += 1;
        // Logs break long lines, and JSON writes the break as two letters.
        let joined: Vec<u8> = if place.starts_with("log/") {
            let text = String::from_utf8_lossy(text).replace("\\n", "").replace("\\t", "");
            text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect()
        } else {
            Vec::new()
        };
        for (form, parts) in &self.needles {
            for (part, kind) in parts.iter().zip(["payload", "signature"]) {
                if memchr::memmem::find(text, part.as_bytes()).is_some()
                    || memchr::memmem::find(&joined, part.as_bytes()).is_some()
                    || memchr::memmem::find(&joined, decimals(part).as_bytes()).is_some()
                {
                    self.found.push(format!("{kind} of \"{form}\" in {place}"));
                }
            }
        }
    }

    fn search_rows(&mut self, place: &str, client: &mut Client, query: &str) {
        let mut text = String::new();
        for message in client.simple_query(query).unwrap() {
            if let SimpleQueryMessage::Row(row) = message {
                for column in 0..row.len() {
                    text += row.get(column).unwrap_or_default();
                    text.push('\n');
                }
            }
        }
        self.search(place, text.as_bytes());
    }

    /// What a colleague on the same login sees of everybody's statements, now.
    fn look_over_the_shoulder(&mut self, place: &str) {
        let rows = self.colleague.query("select query from pg_stat_activity", &[]).unwrap();
        let text: Vec<&str> = rows.iter().filter_map(|row| row.get(0)).collect();
        self.search(place, text.join("\n").as_bytes());
    }

    /// Runs what a client does with a token, and searches what is left right afterwards.
    fn form(
        &mut self,
        name: &str,
        good: bool,
        run: impl FnOnce(&mut Client, &str) -> Result<(), postgres::Error>,
    ) {
        let token = self.token(name, good);
        let mut client = self.shop.person("alice", &["support"]);
        if let Err(error) = run(&mut client, &token) {
            self.search("errors told to the client", format!("{error:?}").as_bytes());
        }
        self.look_over_the_shoulder("pg_stat_activity after the statement");
        self.search_own(&mut client);
    }

    /// What the session itself can read back, and whoever has it next in a pool.
    fn search_own(&mut self, client: &mut Client) {
        let _ = client.batch_execute("rollback");
        let pid: i32 = loop {
            match client.query_one("select pg_backend_pid()", &[]) {
                Ok(row) => break row.get(0),
                Err(_) => identify(client, &self.shop.issuer.person("alice", &[])).map(|_| ()).unwrap(),
            }
        };
        identify(client, &self.shop.issuer.person("alice", &["support"])).unwrap();
        self.search_rows("pg_prepared_statements", client, "select p::text from pg_prepared_statements p");
        self.search_rows("pg_cursors", client, "select c::text from pg_cursors c");
        self.search_rows("pg_settings", client, "select s::text from pg_settings s");
        self.search_rows("SHOW ALL", client, "show all");
        let mut admin = self.shop.admin();
        admin.query("select pg_log_backend_memory_contexts($1)", &[&pid]).unwrap();
        admin.batch_execute("select 1").unwrap();
        self.search_rows("pg_stat_statements", &mut admin, "select s::text from pg_stat_statements s");
    }

    /// A statement that waits for [`LOCK`], which is held until it has been looked at: what it shows while it runs.
    fn long(&mut self, name: &str, run: impl FnOnce(&mut Client, &str) + Send + 'static) {
        let token = self.token(name, true);
        let mut client = self.shop.person("alice", &["support"]);
        let mut admin = self.shop.admin();
        admin.batch_execute(&format!("select pg_advisory_lock({LOCK})")).unwrap();
        let running = thread::spawn(move || run(&mut client, &token));
        let active = "select 1 from pg_stat_activity where state = 'active' and wait_event = 'advisory'";
        wait_for("the statement to run", || !admin.query(active, &[]).unwrap().is_empty());
        for _ in 0..3 {
            self.look_over_the_shoulder("pg_stat_activity while the statement runs");
            thread::sleep(Duration::from_millis(50));
        }
        self.search_rows(
            "pg_stat_activity, as superuser",
            &mut admin,
            "select a::text from pg_stat_activity a",
        );
        admin.batch_execute(&format!("select pg_advisory_unlock({LOCK})")).unwrap();
        running.join().unwrap();
    }

    fn search_processes(&mut self) {
        let postmaster = self.shop.cluster.postmaster().unwrap().to_string();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            if entry.file_name().to_string_lossy() == postmaster || parent == Some(&postmaster) {
                for what in ["cmdline", "environ", "comm"] {
                    let text = fs::read(entry.path().join(what)).unwrap_or_default();
                    self.search(&format!("/proc/PID/{what} of the server"), &text);
                }
            }
        }
    }

    /// Every file below the data directory: logs, journal, tables, write-ahead log, statistics.
    fn search_files(&mut self, directory: &Path, top: &str) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if path.is_dir() {
                let top = if top.is_empty() { name.as_str() } else { top };
                self.search_files(&path, &top.to_string());
            } else if let Ok(bytes) = fs::read(&path) {
                let kind = match (top, path.extension().and_then(|e| e.to_str())) {
                    ("log", Some(extension)) => format!("log/*.{extension}"),
                    (top, _) => format!("files of {top}/"),
                };
                self.search(&kind, &bytes);
            }
        }
    }

    fn end(mut self, order: &str) {
        let mut admin = self.shop.admin();
        shop::sync(&mut admin);
        self.search_rows("audit.ledger", &mut admin, "select l::text from audit.ledger l");
        self.search_rows("audit.statements", &mut admin, "select s::text from audit.statements s");
        self.search_rows("audit.events", &mut admin, "select e::text from audit.events e");
        self.search_rows("pg_stat_statements", &mut admin, "select s::text from pg_stat_statements s");
        self.search_rows("pg_db_role_setting", &mut admin, "select s::text from pg_db_role_setting s");
        self.search_processes();
        admin.batch_execute("checkpoint").unwrap();
        let data = self.shop.cluster.data();
        self.search_files(&data, "");
        // What is written when the server goes down.
        self.shop.cluster.stop();
        self.search_files(&data, "");
        let log: Vec<u8> = fs::read_dir(data.join("log"))
            .unwrap()
            .flatten()
            .flat_map(|entry| fs::read(entry.path()).unwrap())
            .collect();
        for said in
            ["<token>", "Query Text", "duration: ", "parameters: ", "logging memory contexts", "parse tree"]
        {
            assert!(
                memchr::memmem::find(&log, said.as_bytes()).is_some(),
                "the log is not talkative enough: {said}"
            );
        }
        println!(
            "{order}: {} forms, {} kinds of places, {} searches",
            self.needles.len(),
            self.places.len(),
            self.places.values().sum::<usize>()
        );
        for (place, times) in &self.places {
            println!("    {times:6} {place}");
        }
        for place in
            ["log/*.log", "log/*.csv", "files of pg_custodian/", "files of base/", "files of pg_wal/"]
        {
            assert!(self.places.contains_key(place), "{place} was not searched: {:?}", self.places.keys());
        }
        self.found.sort();
        self.found.dedup();
        assert!(self.found.is_empty(), "{}", self.found.join("\n"));
    }
}

/// How debug_print_parse and its kin print a text: the bytes of a constant; here without blanks.
fn decimals(text: &str) -> String {
    text.bytes().map(|byte| byte.to_string()).collect()
}

fn bin(name: &str) -> std::path::PathBuf {
    let config = std::env::var("PGC_PG_CONFIG").unwrap();
    let directory = command::plain(Path::new(&config)).arg("--bindir").succeed();
    Path::new(directory.stdout.trim()).join(name)
}

fn simple(template: &'static str) -> impl FnOnce(&mut Client, &str) -> Result<(), postgres::Error> {
    move |client, token| client.simple_query(&template.replace("TOKEN", token)).map(|_| ())
}

fn hunt(libraries: [&str; 3]) {
    let mut hunt = Hunt::begin(libraries);
    for (name, statement) in [
        ("literal", "select custodian.set_identity('TOKEN')"),
        (
            "named arguments",
            "select * from custodian.set_identity(token => 'TOKEN', for_transaction => false)",
        ),
        ("dollar quotes", "select custodian.set_identity($t$TOKEN$t$)"),
        ("comment", "select now() /* TOKEN */ -- TOKEN"),
        ("prepare literal", "prepare p as select custodian.set_identity('TOKEN'); execute p"),
        ("prepare and keep", "prepare p as select custodian.set_identity('TOKEN')"),
        ("execute literal", "prepare p as select custodian.set_identity($1); execute p('TOKEN')"),
        ("do", "do $$ begin perform custodian.set_identity('TOKEN'); end $$"),
        ("do, dynamic", "do $$ begin execute 'select custodian.set_identity(''TOKEN'')'; end $$"),
        (
            "do, dynamic with comment",
            "do $$ begin execute 'select custodian.set_identity(''TOKEN''), 1 as own_entry, 2 as of_its_own -- TOKEN'; end $$",
        ),
        ("function", "select public.present('TOKEN')"),
        ("function, dynamic", "select public.present_dynamically('TOKEN')"),
        ("several statements", "begin; select custodian.set_identity('TOKEN'); commit"),
        ("several statements, one fails", "select now(); select custodian.set_identity('TOKEN'); select 1/0"),
        ("syntax error before", "selec custodian.set_identity('TOKEN')"),
        ("syntax error after", "select custodian.set_identity('TOKEN') frm; select"),
        ("syntax error in the literal", "select custodian.set_identity('TOKEN)"),
        ("unknown table", "select custodian.set_identity('TOKEN') from nowhere"),
        ("unknown function", "select custodian.set_identiti('TOKEN')"),
        ("explain", "explain (analyze, verbose) select custodian.set_identity('TOKEN')"),
        (
            "cursor",
            "begin; declare c cursor for select custodian.set_identity('TOKEN'); fetch 1 from c; commit",
        ),
        ("cursor left open", "declare c cursor with hold for select length('TOKEN')"),
        ("create table as", "create temp table who as select (custodian.set_identity('TOKEN')).user_id"),
        ("copy", "copy (select custodian.set_identity('TOKEN')) to stdout"),
        ("aborted transaction", "begin; select 1/0"),
        ("cast", "select 'TOKEN'::int"),
        (
            "raise",
            "do $$ begin raise warning 'TOKEN'; raise exception 'TOKEN' using detail = 'TOKEN', hint = 'TOKEN'; end $$",
        ),
        ("check", "insert into public.narrow values ('TOKEN')"),
        ("set", "set pg_custodian.token = 'TOKEN'"),
        ("notify", "notify news, 'TOKEN'"),
        ("call without a person", "discard all; select custodian.set_identity('TOKEN')"),
    ] {
        let statement: &'static str = statement;
        hunt.form(name, true, simple(statement));
    }
    for (name, statement) in [
        ("refused literal", "select custodian.set_identity('TOKEN')"),
        ("refused in do", "do $$ begin perform custodian.set_identity('TOKEN'); end $$"),
        ("refused in function", "select public.present_dynamically('TOKEN')"),
        ("refused execute", "prepare p as select custodian.set_identity($1); execute p('TOKEN')"),
    ] {
        hunt.form(name, false, simple(statement));
    }
    for good in [true, false] {
        hunt.form("parameter", good, |client, token| identify(client, token).map(|_| ()));
    }
    hunt.form("parameter of a prepared statement", true, |client, token| {
        let statement = client.prepare("select custodian.set_identity($1)")?;
        for _ in 0..7 {
            client.query(&statement, &[&token])?;
        }
        Ok(())
    });
    hunt.form("literal in the extended protocol", true, |client, token| {
        let statement = client.prepare(&format!("select custodian.set_identity('{token}')"))?;
        client.query(&statement, &[])?;
        // The statement stays while the others look.
        std::mem::forget(statement);
        Ok(())
    });
    hunt.form("parameter of a failing statement", true, |client, token| {
        client.query("select $1::text::int", &[&token]).map(|_| ())
    });
    hunt.form("parameter of a function", true, |client, token| {
        client.query("select public.present($1)", &[&token]).map(|_| ())
    });
    hunt.form("after an error in a transaction", true, |client, token| {
        let _ = client.batch_execute("begin; select 1/0");
        client.simple_query(&format!("select custodian.set_identity('{token}')")).map(|_| ())
    });
    hunt.form("statements and a reset of the statistics", true, |client, token| {
        let statement = client.prepare(&format!("select custodian.set_identity('{token}') /* {token} */"))?;
        client.query(&statement, &[]).map(|_| ())
    });
    hunt.long("literal, running", |client, token| {
        let _ = client.simple_query(&format!("select custodian.set_identity('{token}'), {WAIT}"));
    });
    hunt.long("literal in the extended protocol, running", |client, token| {
        let _ = client.query(&format!("select custodian.set_identity('{token}'), {WAIT}"), &[]);
    });
    hunt.long("do, running", |client, token| {
        let _ = client.simple_query(&format!(
            "do $$ begin perform custodian.set_identity('{token}'); perform {WAIT}; end $$"
        ));
    });
    hunt.long("one of several, running", |client, token| {
        let _ = client.simple_query(&format!("select {WAIT}; select custodian.set_identity('{token}')"));
    });
    hunt.long("parameter, running", |client, token| {
        let _ = client.query(&format!("select custodian.set_identity($1), {WAIT}"), &[&token]);
    });
    start_options(&mut hunt);
    hunt.end(&libraries.join(", "));
}

fn start_options(hunt: &mut Hunt) {
    for (name, good, option) in [
        ("start-up option", true, "-c pg_custodian.token=TOKEN"),
        ("start-up option, long", true, "--pg_custodian.token=TOKEN"),
        ("refused start-up option", false, "-c pg_custodian.token=TOKEN"),
        ("misspelt start-up option", true, "-c pg_custodian.tokn=TOKEN"),
        ("start-up option with a blank", true, "-c pg_custodian.token TOKEN"),
        ("start-up option for another setting", true, "-c work_mem=TOKEN"),
    ] {
        let token = hunt.token(name, good);
        match hunt.shop.try_readonly(&option.replace("TOKEN", &token)) {
            Ok(mut client) => {
                if let Err(error) = client.simple_query("select now()") {
                    assert_eq!(error.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION));
                    hunt.search("errors told to the client", format!("{error:?}").as_bytes());
                }
                hunt.look_over_the_shoulder("pg_stat_activity after the statement");
                hunt.search_processes();
                hunt.search_own(&mut client);
            }
            Err(error) => hunt.search("errors told to the client", format!("{error:?}").as_bytes()),
        }
    }
}

#[test]
fn a_token_is_nowhere_with_the_library_loaded_first() {
    hunt(["pg_custodian", "pg_stat_statements", "auto_explain"]);
}

#[test]
fn a_token_is_nowhere_with_the_library_loaded_last() {
    hunt(["auto_explain", "pg_stat_statements", "pg_custodian"]);
}

#[test]
fn a_failed_statement_does_not_show_its_token_even_if_errors_are_not_logged() {
    let shop = shop::open_on(custodian().conf("log_min_messages = panic"), "identify");
    let mut colleague = shop.person("bob", &[]);
    let token = shop.issuer.person("alice", &[]);
    let mut client = shop.readonly();
    assert!(client.simple_query(&format!("selec custodian.set_identity('{token}')")).is_err());
    let shown: Vec<String> = colleague
        .query("select query from pg_stat_activity where query like '%set_identity%' and pid <> pg_backend_pid()", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(shown, ["selec custodian.set_identity('<token>')"]);
}
