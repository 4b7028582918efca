//! A throwaway PostgreSQL cluster for one test: made, started, ill-treated and removed.
//!
//! The server is the one whose `pg_config` is named by `PGC_PG_CONFIG`; `make test` installs the
//! extension there before. Each [`Cluster`] has its own data directory, socket and port, so tests run
//! side by side. Nothing of it is left behind, also when the test panics.
//!
//! Each test program uses its own part of this, hence the `dead_code`.
#![allow(dead_code)]

pub mod clock;
pub mod command;
pub mod disk;
pub mod generator;
pub mod load;
pub mod masked;
pub mod promise;
pub mod script;
pub mod shop;
pub mod standby;
pub mod token;
pub mod transcript;
pub mod wire;

use postgres::error::{DbError, SqlState};
use postgres::{Client, Config, NoTls};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take to come up, to go down or to recover, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// What kind of server a test wants.
pub struct Wanted {
    preload: Vec<String>,
    conf: Vec<String>,
    environment: Vec<(String, String)>,
    /// Another PostgreSQL than the one that is tested: where its programs are.
    bin: Option<PathBuf>,
}

/// A server without any extension, the yardstick of comparisons.
pub fn bare() -> Wanted {
    Wanted { preload: Vec::new(), conf: Vec::new(), environment: Vec::new(), bin: None }
}

/// A server with pg_custodian alone. Tests present many bad tokens: only those of the delay wait for it.
pub fn custodian() -> Wanted {
    bare().preload(&["pg_custodian"]).conf("pg_custodian.failure_delay = 0")
}

impl Wanted {
    /// Libraries for shared_preload_libraries, in this order.
    pub fn preload(mut self, libraries: &[&str]) -> Self {
        self.preload = libraries.iter().map(ToString::to_string).collect();
        self
    }

    /// A line of postgresql.conf.
    pub fn conf(mut self, line: &str) -> Self {
        self.conf.push(line.to_string());
        self
    }

    /// Variables of the server's environment.
    pub fn environment(mut self, variables: Vec<(String, String)>) -> Self {
        self.environment = variables;
        self
    }

    /// Of the PostgreSQL of this pg_config.
    pub fn of(mut self, config: &str) -> Self {
        self.bin = Some(directory_of(config, "--bindir"));
        self
    }

    /// Makes and starts the cluster.
    pub fn start(self) -> Cluster {
        let cluster = self.make();
        cluster.start();
        cluster
    }

    /// Makes the cluster, for who has something to do in its directory before it starts.
    pub fn make(self) -> Cluster {
        Cluster::create(&self)
    }
}

pub struct Cluster {
    bin: PathBuf,
    directory: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
}

impl Cluster {
    fn create(wanted: &Wanted) -> Cluster {
        let bin = wanted.bin.clone().unwrap_or_else(bin_directory);
        let directory = command::make_directory("pg_custodian-cluster");
        let cluster = Cluster { bin, directory, port: free_port(), environment: wanted.environment.clone() };
        let data = cluster.data();
        let mut initdb = command::as_server(&cluster.bin.join("initdb"));
        initdb.args(["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
        // From version 18 on pages have checksums, which would find an edited file before the ledger does.
        if command::plain(&cluster.bin.join("initdb"))
            .arg("--help")
            .run()
            .stdout
            .contains("--no-data-checksums")
        {
            initdb.arg("--no-data-checksums");
        }
        initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256", "-D"]).arg(&data).succeed();
        let mut lines = vec![
            format!("port = {}", cluster.port),
            "listen_addresses = '127.0.0.1'".to_string(),
            format!("unix_socket_directories = '{}'", cluster.directory.display()),
            "max_connections = 50".to_string(),
            "log_line_prefix = '%m [%p] %q%u@%d '".to_string(),
            "log_min_messages = info".to_string(),
            // kill -9 of processes loses no page of the kernel's: fsync would only cost time here.
            "fsync = off".to_string(),
        ];
        if !wanted.preload.is_empty() {
            lines.push(format!("shared_preload_libraries = '{}'", wanted.preload.join(",")));
        }
        lines.extend(wanted.conf.iter().cloned());
        cluster.add_conf(&lines.join("\n"));
        cluster
    }

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the unix socket is: the host of a connection that needs no password.
    pub fn socket(&self) -> &Path {
        &self.directory
    }

    /// Where a program of this PostgreSQL is.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A program that finds this server by itself (psql, pgbench, a shell that starts them) and is the
    /// superuser there.
    pub fn program(&self, path: &Path) -> command::Program {
        let mut program = command::plain(path);
        program.env("PGHOST", &self.directory).env("PGPORT", self.port.to_string()).env("PGUSER", "postgres");
        program
    }

    /// Adds to postgresql.conf; takes effect at the next start.
    pub fn add_conf(&self, lines: &str) {
        let file = self.data().join("postgresql.conf");
        let before = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{before}\n{lines}\n")).unwrap();
    }

    /// Starts the server, also after it was killed: PostgreSQL refuses for as long as an orphan of the
    /// old one holds the shared memory, and those need a moment to notice.
    pub fn start(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut program = command::as_server(&self.bin.join("pg_ctl"));
            // postgres_fdw and dblink need its own libpq; another version's may be installed.
            program.env("LD_LIBRARY_PATH", self.bin.join("../lib"));
            for (name, value) in &self.environment {
                program.env(name, value);
            }
            let started = program
                .arg("-D")
                .arg(self.data())
                .args(["-w", "-t", &PATIENCE.as_secs().to_string(), "-s", "start", "-l"])
                .arg(self.directory.join("log"))
                .run();
            if started.success {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the server does not start: {}\n{}",
                started.stderr,
                self.log()
            );
            sleep(Duration::from_millis(200));
        }
    }

    pub fn stop(&self) {
        command::as_server(&self.bin.join("pg_ctl"))
            .arg("-D")
            .arg(self.data())
            .args(["-w", "-t", &PATIENCE.as_secs().to_string(), "-s", "-m", "fast", "stop"])
            .succeed();
    }

    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// The postmaster's process id, if there is one.
    pub fn postmaster(&self) -> Option<u32> {
        fs::read_to_string(self.data().join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
    }

    /// kill -9 of the postmaster: nobody tells the backends.
    pub fn kill_postmaster(&self) {
        if let Some(pid) = self.postmaster() {
            command::kill_hard(pid);
            wait_for("the postmaster's death", || !command::is_alive(pid));
        }
    }

    /// Puts the journal elsewhere, behind a symbolic link; before the server starts, or while it is down.
    pub fn move_journal(&self, to: &Path) {
        let link = self.file("pg_custodian");
        command::as_server(Path::new("ln")).arg("-s").arg(to).arg(link).succeed();
    }

    /// Where this server is, in place of what pg_basebackup wrote: its library may be newer than the server's, and
    /// know options that the other does not.
    fn be_followed_by(&self, standby: &Cluster) {
        let host = self.directory.display();
        let line = format!("primary_conninfo = 'host={host} port={} user=postgres'\n", self.port);
        let path = standby.file("postgresql.auto.conf");
        let before = fs::read_to_string(&path).unwrap();
        fs::write(&path, before + &line).unwrap();
    }

    /// Another server made of this one by pg_basebackup, not started yet; `standby` follows this one.
    pub fn base_backup(&self, standby: bool) -> Cluster {
        let copy = Cluster {
            bin: self.bin.clone(),
            directory: command::make_directory("pg_custodian-cluster"),
            port: free_port(),
            environment: Vec::new(),
        };
        let mut program = command::as_server(&self.bin.join("pg_basebackup"));
        program.args(["-U", "postgres", "-c", "fast", "-X", "stream", "-h"]).arg(&self.directory);
        program.args(["-p", &self.port.to_string()]).arg("-D").arg(copy.data());
        if standby {
            program.arg("-R");
        }
        program.succeed();
        if standby {
            self.be_followed_by(&copy);
        }
        copy.add_conf(&format!(
            "port = {}\nunix_socket_directories = '{}'",
            copy.port,
            copy.directory.display()
        ));
        copy
    }

    /// Makes a primary of a standby.
    pub fn promote(&self) {
        let promote = format!("select pg_promote(true, {})", PATIENCE.as_secs());
        let promoted = self.superuser("postgres").query_one(&promote, &[]).unwrap();
        assert!(promoted.get::<_, bool>(0), "the standby is none still");
    }

    /// Waits until the server answers again, for example after the death of a backend.
    pub fn wait_until_up(&self) {
        wait_for("the server", || self.config("postgres", "postgres").connect(NoTls).is_ok());
    }

    /// Waits until the server has noticed that one of its processes died, and answers again. Until it notices it
    /// answers as before, and ends whom it answered.
    ///
    /// # Arguments
    /// * `witness` - a session from before, which ends with all the others
    pub fn wait_until_restarted(&self, mut witness: Client) {
        wait_for("the end of all sessions", || witness.simple_query("select 1").is_err());
        self.wait_until_up();
    }

    fn config(&self, user: &str, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.directory).port(self.port).user(user).dbname(database);
        config.connect_timeout(Duration::from_secs(20));
        config
    }

    /// The superuser, through the socket.
    pub fn superuser(&self, database: &str) -> Client {
        self.try_superuser(database).unwrap()
    }

    pub fn try_superuser(&self, database: &str) -> Result<Client, postgres::Error> {
        self.config("postgres", database).connect(NoTls)
    }

    /// Somebody without a password, by the socket.
    pub fn local(&self, user: &str, database: &str) -> Client {
        self.config(user, database).connect(NoTls).unwrap()
    }

    /// Somebody with a password, over TCP as an application would.
    pub fn login(&self, user: &str, password: &str, database: &str) -> Client {
        self.try_login(user, password, database, "").unwrap()
    }

    /// The same with start-up options such as `-c name=value`.
    pub fn try_login(
        &self,
        user: &str,
        password: &str,
        database: &str,
        options: &str,
    ) -> Result<Client, postgres::Error> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port).user(user).password(password).dbname(database);
        config.connect_timeout(Duration::from_secs(20));
        if !options.is_empty() {
            config.options(options);
        }
        config.connect(NoTls)
    }

    /// A database that has the extension.
    pub fn create_database(&self, name: &str) {
        self.superuser("postgres").batch_execute(&format!("create database {name}")).unwrap();
        self.superuser(name).batch_execute("create extension pg_custodian").unwrap();
    }

    /// Everything the server has written so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The path of a file below the data directory.
    pub fn file(&self, below: &str) -> PathBuf {
        self.data().join(below)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Never panics: a second panic while a failed test unwinds would hide the first.
        if self.postmaster().is_some() {
            command::as_server(&self.bin.join("pg_ctl"))
                .arg("-D")
                .arg(self.data())
                .args(["-w", "-s", "-m", "immediate", "stop"])
                .run();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.len().saturating_sub(40);
            eprintln!("---- end of the server log\n{}\n----", lines[tail..].join("\n"));
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Waits for something that happens by itself.
pub fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        sleep(Duration::from_millis(50));
    }
}

/// The server's own words about a failure. Panics if the statement went well or the connection broke.
pub fn refusal<T>(result: Result<T, postgres::Error>) -> DbError {
    match result {
        Ok(_) => panic!("this should have been refused"),
        Err(error) => match error.as_db_error() {
            Some(error) => error.clone(),
            None => panic!("no answer of the server but: {error:?}"),
        },
    }
}

/// Asserts how a statement was refused: by which SQLSTATE, and with a hint that says what to do.
#[track_caller]
pub fn assert_refused<T>(result: Result<T, postgres::Error>, code: &SqlState) -> DbError {
    let error = refusal(result);
    assert_eq!(error.code(), code, "{error:?}");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "no hint: {error:?}");
    error
}

/// One column of one row, as text.
pub fn text(client: &mut Client, query: &str) -> Option<String> {
    client.query_one(query, &[]).unwrap().get(0)
}

/// Whether the PostgreSQL that is tested came with this library: pgaudit is there only for Debian's own.
pub fn has_library(name: &str) -> bool {
    directory("--pkglibdir").join(format!("{name}.so")).exists()
}

fn bin_directory() -> PathBuf {
    directory("--bindir")
}

fn directory(option: &str) -> PathBuf {
    let config = std::env::var("PGC_PG_CONFIG")
        .expect("PGC_PG_CONFIG names the pg_config of a PostgreSQL with pg_custodian: run `make test`");
    directory_of(&config, option)
}

fn directory_of(config: &str, option: &str) -> PathBuf {
    let printed = command::plain(Path::new(config)).arg(option).succeed();
    PathBuf::from(printed.stdout.trim())
}

/// A TCP port nobody listens on, and that is not given to anybody else in this process. It lies below those
/// that the kernel gives to clients: they would take it before the server does, or while the server is down.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run at the same time begin at different places.
    let begin = std::process::id() % COUNT * 61;
    let next = || begin + GIVEN.fetch_add(1, Ordering::Relaxed);
    let mut ports = (0..COUNT).map(|_| u16::try_from(FIRST + next() % COUNT).unwrap());
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a port is free")
}
