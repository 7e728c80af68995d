//! A pgbouncer before a PostgreSQL, as awkward as they come: transactions are pooled, and each database
//! has one connection.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
};

use anyhow::Context as _;
use rustix::process::Signal;

use super::{
    folder::Folder,
    free_port,
    postgres::{PASSWORD, Postgres, USER, url},
    stop, unprivileged, wait_until,
};

/// A running pooler.
pub(super) struct PgBouncer {
    child: Child,
    port: u16,
    _folder: Folder,
}

impl PgBouncer {
    pub(super) fn start(program: &Path, database: &Postgres) -> anyhow::Result<Self> {
        let folder = Folder::make()?;
        let (port, log) = (free_port()?, folder.write("pgbouncer.log", "")?);
        let users = folder.write("users.txt", &format!("\"{USER}\" \"{PASSWORD}\"\n"))?;
        let configuration =
            folder.write("pgbouncer.ini", &configuration(database, port, &users))?;
        let mut pooler = unprivileged(program, "INT");
        pooler
            .current_dir(folder.path())
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(fs::OpenOptions::new().append(true).open(&log)?);
        let child = pooler.spawn().context("could not start pgbouncer")?;
        let mut started = Self {
            child,
            port,
            _folder: folder,
        };
        let is_ready = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_until(&mut started.child, &log, is_ready)?;
        Ok(started)
    }

    pub(super) fn url(&self) -> String {
        url(self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        stop(&mut self.child, Signal::TERM);
    }
}

fn configuration(database: &Postgres, port: u16, users: &Path) -> String {
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = {}\n\
         pool_mode = transaction\n\
         default_pool_size = 1\n\
         max_client_conn = 500\n\
         max_db_connections = 1\n\
         log_connections = 0\n\
         log_disconnections = 0\n",
        database.port,
        users.display()
    )
}
