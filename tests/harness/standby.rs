//! A hot standby of a cluster: made by pg_basebackup, fed by streaming replication.

use super::{Cluster, command, free_port, wait_for};
use postgres::Client;

/// Where a standby of the cluster forwards to, as `role`.
pub fn forward_to(primary: &Cluster, role: &str) -> String {
    format!(
        "pg_custodian.forward_to = 'host={} port={} user={role}'",
        primary.socket().display(),
        primary.port()
    )
}

impl Cluster {
    /// A standby of this server that is called `name`, with these lines in its configuration; not started.
    pub fn make_standby(&self, name: &str, conf: &[String]) -> Cluster {
        let directory = command::make_directory("pg_custodian-standby");
        let standby =
            Cluster { bin: self.bin.clone(), directory, port: free_port(), environment: Vec::new() };
        command::as_server(&self.bin.join("pg_basebackup"))
            .args(["-U", "postgres", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-h"])
            .arg(&self.directory)
            .args(["-p", &self.port.to_string(), "-D"])
            .arg(standby.data())
            .succeed();
        self.be_followed_by(&standby);
        let mut lines = vec![
            format!("port = {}", standby.port),
            format!("unix_socket_directories = '{}'", standby.directory.display()),
            format!("cluster_name = '{name}'"),
            "wal_retrieve_retry_interval = '200ms'".to_string(),
        ];
        lines.extend_from_slice(conf);
        standby.add_conf(&lines.join("\n"));
        standby
    }

    /// The same, started.
    pub fn standby(&self, name: &str, conf: &[String]) -> Cluster {
        let standby = self.make_standby(name, conf);
        standby.start();
        standby
    }

    /// Reads the configuration anew.
    pub fn reload(&self) {
        self.superuser("postgres").execute("select pg_reload_conf()", &[]).unwrap();
    }

    /// Waits until this standby has replayed what `primary` has written so far.
    pub fn wait_until_replayed(&self, primary: &Cluster) {
        let mut source = primary.superuser("postgres");
        let end: String = source.query_one("select pg_current_wal_insert_lsn()::text", &[]).unwrap().get(0);
        let mut client = self.superuser("postgres");
        let query = "select pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        wait_for("replay", || client.query_one(query, &[&end]).unwrap().get(0));
    }
}

/// A role by which a standby may forward.
pub fn create_forwarder(admin: &mut Client, role: &str) {
    admin.batch_execute(&format!("create role {role} login in role custodian_forwarder")).unwrap();
}
