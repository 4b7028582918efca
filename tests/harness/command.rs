//! Programs run by the tests, and as whom.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Program(Command);

pub struct Finished {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// A program run as whoever runs the tests.
pub fn plain(path: &Path) -> Program {
    let mut command = Command::new(path);
    clean(&mut command);
    Program(command)
}

/// A program run as the user that may run a server: PostgreSQL refuses to be root.
pub fn as_server(path: &Path) -> Program {
    if !is_root() {
        return plain(path);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(path);
    clean(&mut command);
    Program(command)
}

/// Settings of the person who runs the tests must not reach a server or its clients. RUST_BACKTRACE
/// would put backtraces into error details.
fn clean(command: &mut Command) {
    for name in
        ["RUST_BACKTRACE", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGOPTIONS", "PGDATA"]
    {
        command.env_remove(name);
    }
    // Somewhere the server's user can be: psql and the server complain about other places.
    command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
}

impl Program {
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.0.arg(argument);
        self
    }

    pub fn args<A: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = A>) -> &mut Self {
        self.0.args(arguments);
        self
    }

    pub fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.0.env(name, value);
        self
    }

    /// Runs to the end, and leaves the verdict to the caller.
    pub fn run(&mut self) -> Finished {
        // A server that goes on in the background keeps what it inherits: its output goes to its log.
        let output = self.0.output();
        match output {
            Ok(output) => Finished {
                success: output.status.success(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            },
            Err(error) => {
                Finished { success: false, stdout: String::new(), stderr: format!("{:?}: {error}", self.0) }
            }
        }
    }

    /// Runs beside the test, which has to end it; what it says goes to a file.
    pub fn start(&mut self, log: &Path) -> Child {
        let log = File::create(log).unwrap();
        self.0.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// Runs to the end; panics with the program's own words if it fails.
    pub fn succeed(&mut self) -> Finished {
        let finished = self.run();
        assert!(finished.success, "{:?} failed:\n{}{}", self.0, finished.stdout, finished.stderr);
        finished
    }
}

/// A new directory that the server's user owns and everybody may enter.
pub fn make_directory(name: &str) -> PathBuf {
    // Short: the path of a unix socket has 107 bytes.
    let template = std::env::temp_dir().join(format!("{name}.XXXXXX"));
    let made = as_server(Path::new("mktemp")).arg("-d").arg(template).succeed();
    let directory = PathBuf::from(made.stdout.trim());
    as_server(Path::new("chmod")).arg("755").arg(&directory).succeed();
    directory
}

pub fn kill_hard(pid: u32) {
    plain(Path::new("kill")).arg("-9").arg(pid.to_string()).run();
}

/// Sends a signal, by its name without SIG, to who may be gone already.
pub fn signal(pid: u32, name: &str) {
    plain(Path::new("kill")).args([format!("-{name}"), pid.to_string()]).run();
}

/// Whether SIGSTOP has arrived, or the process is gone.
pub fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 'Z', 'X']))
}

/// A zombie is dead: where nothing reaps orphans, it stays in the table for ever.
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").map(|(_, rest)| !rest.starts_with(['Z', 'X'])))
        .unwrap_or(false)
}

/// The processor time a process has used, in clock ticks (proc(5): `utime` and `stime`); 0 if there is none.
pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
