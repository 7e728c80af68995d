//! A RabbitMQ of one node: its own name, folders, port mapper and ports, and no plugins.
//!
//! Tests stop, start and reconfigure the broker by a script, which calls `rabbitmqctl` with the names that this
//! instance has.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use anyhow::Context as _;
use rustix::process::Signal;

use super::{folder::Folder, free_port, stop, unprivileged, wait_until};

const USER: &str = "opspawn";
/// Holds characters that a URL has to escape.
const PASSWORD: &str = "p@ss:word/1";
const PASSWORD_IN_URL: &str = "p%40ss%3Aword%2F1";

/// A running broker.
pub(super) struct RabbitMq {
    broker: Child,
    /// The port mapper of Erlang. A broker that finds none starts one, which would outlive the tests.
    mapper: Child,
    port: u16,
    control: PathBuf,
    _folder: Folder,
}

impl RabbitMq {
    /// Starts the broker; `programs` is the folder with `rabbitmq-server` and `rabbitmqctl`.
    pub(super) fn start(programs: &Path) -> anyhow::Result<Self> {
        let folder = Folder::make()?;
        let (port, mapper_port) = (free_port()?, free_port()?);
        let log = folder.write("broker.log", "")?;
        folder.write("plugins", "[].")?;
        folder.write("environment", "")?;
        folder.write("rabbitmq.conf", &configuration(port))?;
        let control = folder.write(
            "control",
            &script(programs, folder.path(), mapper_port, free_port()?),
        )?;
        fs::set_permissions(&control, fs::Permissions::from_mode(0o755))?;
        let mut epmd = unprivileged(Path::new("epmd"), "KILL");
        epmd.current_dir(folder.path())
            .args(["-address", "127.0.0.1", "-port", &mapper_port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut mapper = epmd.spawn().context("could not start epmd")?;
        let is_ready = || TcpStream::connect(("127.0.0.1", mapper_port)).is_ok();
        wait_until(&mut mapper, &log, is_ready)?;
        let mut server = unprivileged(&control, "KILL");
        server
            .current_dir(folder.path())
            .arg("rabbitmq-server")
            .stdout(fs::OpenOptions::new().append(true).open(&log)?)
            .stderr(fs::OpenOptions::new().append(true).open(&log)?);
        let broker = server.spawn().context("could not start rabbitmq-server")?;
        let mut started = Self {
            broker,
            mapper,
            port,
            control,
            _folder: folder,
        };
        let is_ready = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_until(&mut started.broker, &log, is_ready)?;
        Ok(started)
    }

    /// Where the broker is reached.
    pub(super) fn url(&self) -> String {
        format!("amqp://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{}", self.port)
    }

    /// The script that runs a program of the broker, for instance `rabbitmqctl`, for this instance.
    pub(super) fn control(&self) -> String {
        self.control.display().to_string()
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        // The folder goes as well, so nothing has to be closed in order.
        stop(&mut self.broker, Signal::KILL);
        stop(&mut self.mapper, Signal::TERM);
    }
}

fn configuration(port: u16) -> String {
    format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         default_user = {USER}\n\
         default_pass = {PASSWORD}\n\
         disk_free_limit.absolute = 1MB\n\
         vm_memory_high_watermark.absolute = 1GB\n\
         log.console = true\n\
         log.console.level = warning\n\
         log.file = false\n"
    )
}

/// A script that runs a program of RabbitMQ, named by its first argument, with the names of this instance. The
/// broker replaces the script's process, so that the broker is stopped by the process id and ends with us.
fn script(programs: &Path, folder: &Path, mapper_port: u16, node_port: u16) -> String {
    let folder = folder.display();
    format!(
        "#!/bin/sh\n\
         cd {folder}\n\
         export HOME={folder} LANG=C.UTF-8\n\
         export ERL_EPMD_PORT={mapper_port} ERL_EPMD_ADDRESS=127.0.0.1\n\
         export RABBITMQ_NODENAME=opspawn-{mapper_port}@localhost RABBITMQ_DIST_PORT={node_port}\n\
         export RABBITMQ_MNESIA_BASE={folder}/data RABBITMQ_LOG_BASE={folder}/log\n\
         export RABBITMQ_ENABLED_PLUGINS_FILE={folder}/plugins\n\
         export RABBITMQ_CONF_ENV_FILE={folder}/environment\n\
         export RABBITMQ_CONFIG_FILE={folder}/rabbitmq.conf\n\
         export RABBITMQ_ALLOW_INPUT=1 RABBITMQ_SERVER_START_ARGS=-noinput\n\
         export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=\"+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none \
         -kernel inet_dist_use_interface {{127,0,0,1}} -rabbit channel_tick_interval 1000\"\n\
         program=$1\n\
         shift\n\
         exec {}/$program \"$@\"\n",
        programs.display()
    )
}
