//! Processes of servers: started in a group of their own, and ended with all that they started.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
};

use crate::{
    leftovers::{self, Records},
    text::{Redactor, shown},
};

/// How much of the end of stderr an error shows, in bytes.
const TAIL: usize = 8 * 1024;
/// Lines of stderr that go to the log, each; more are counted.
const MAX_LOGGED: usize = 200;
/// How long a server has to leave after its stdin was closed, and again after SIGTERM.
const LEAVE: Duration = Duration::from_millis(1500);

/// Variables of this process's environment that every server gets. `env` of the configuration adds to it.
const BASE: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SYSTEMROOT",
];

/// A program to start, with every variable filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    /// The program: a name to look for in `PATH`, or a path.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to the base environment.
    pub env: BTreeMap<String, String>,
    /// Its working folder; none for that of this process.
    pub cwd: Option<PathBuf>,
}

impl std::fmt::Debug for Program {
    /// Values of the environment may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("command", &self.command)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A program that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No folder has it.
    #[error(
        "`{command}` was not found; searched {searched}. Name it by its whole path, or set PATH in the \
         server's `env`"
    )]
    NotFound {
        /// The program that was looked for.
        command: String,
        /// The folders, in their order.
        searched: String,
    },
    /// The system refuses.
    #[error("`{command}` cannot be started: {source}")]
    Refused {
        /// The program that was to be started.
        command: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Program {
    /// The environment that it runs in, but for the mark of its group.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let mut env: BTreeMap<String, String> = BASE
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect();
        // npx asks on stdin whether it may install, which is where requests come.
        env.insert("npm_config_yes".to_owned(), "true".to_owned());
        env.extend(self.env.clone());
        env
    }

    /// The file that runs.
    ///
    /// # Errors
    /// [`StartError::NotFound`] with the folders that were searched.
    pub fn resolve(&self) -> Result<PathBuf, StartError> {
        let found = |path: PathBuf| is_program(&path).then_some(path);
        let here = self.cwd.clone().unwrap_or_default();
        let named = Path::new(&self.command);
        let (path, searched) = if self.command.contains('/') {
            let folder = named.parent().unwrap_or(named);
            let searched = here.join(folder).display().to_string();
            (found(here.join(named)), searched)
        } else {
            let folders = self.environment().remove("PATH").unwrap_or_default();
            let mut folders_of = std::env::split_paths(OsStr::new(&folders));
            let path = folders_of.find_map(|folder| found(folder.join(named)));
            (path, folders.replace(':', ", "))
        };
        path.ok_or_else(|| StartError::NotFound {
            command: self.command.clone(),
            searched: if searched.is_empty() {
                "no folder, as PATH is empty".to_owned()
            } else {
                searched
            },
        })
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A running server process with its group.
pub(crate) struct Process {
    child: Mutex<Option<Child>>,
    group: Group,
    stderr: Arc<Mutex<Tail>>,
    redactor: Redactor,
}

/// A group of processes, and whoever left it but carries its mark.
#[derive(Clone)]
pub(crate) struct Group {
    leader: Option<Pid>,
    mark: String,
    records: Records,
    /// A container that the program runs: `docker` or `podman`.
    container: Option<PathBuf>,
    /// Whether the group was ended: its number may be another group's by now.
    ended: Arc<AtomicBool>,
}

/// The pipes of a process.
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
}

#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    logged: usize,
}

impl Process {
    /// Starts a program in a group of its own.
    pub(crate) fn start(
        server: &str,
        program: &Program,
        records: &Records,
        redactor: &Redactor,
    ) -> Result<(Self, Pipes), StartError> {
        let path = program.resolve()?;
        let refused = |source| StartError::Refused {
            command: program.command.clone(),
            source,
        };
        let mark = leftovers::new_mark();
        let container = is_container(program).then(|| path.clone());
        let mut command = Command::new(&path);
        command
            .args(arguments(program, container.is_some(), &mark))
            .env_clear()
            .envs(program.environment())
            .env(leftovers::MARK, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(cwd) = &program.cwd {
            command.current_dir(cwd);
        }
        // Recorded first: what is killed between the two leaves a record of nothing.
        records.begin(&mark);
        let mut child = command.spawn().map_err(|error| {
            records.end(&mark);
            refused(error)
        })?;
        let leader = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(leader) = leader {
            records.started(&mark, leader);
        }
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(refused(io::ErrorKind::BrokenPipe.into()));
        };
        let tail = Arc::<Mutex<Tail>>::default();
        tokio::spawn(drain(
            server.to_owned(),
            stderr,
            Arc::clone(&tail),
            redactor.clone(),
        ));
        let process = Self {
            child: Mutex::new(Some(child)),
            group: Group {
                leader,
                mark,
                records: records.clone(),
                container,
                ended: Arc::default(),
            },
            stderr: tail,
            redactor: redactor.clone(),
        };
        Ok((process, Pipes { stdin, stdout }))
    }

    /// The process, to be waited for. Once.
    pub(crate) fn take_child(&self) -> Option<Child> {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    /// The end of stderr, for an error; empty if it wrote nothing.
    pub(crate) fn stderr(&self) -> String {
        let tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&tail.bytes);
        let text = text.trim();
        match text.is_empty() {
            true => String::new(),
            false => format!(
                "; its stderr ends with: {}",
                shown(&self.redactor.clean(text), 2 * TAIL)
            ),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.kill();
    }
}

impl Group {
    /// Ends the rest of the group now.
    pub(crate) fn kill(&self) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        if units::mutant!("agentkit-mcp.leader_only") {
            if let Some(leader) = self.leader {
                let _ = rustix::process::kill_process(leader, Signal::KILL);
            }
            return;
        }
        if let Some(leader) = self.leader {
            let _ = rustix::process::kill_process_group(leader, Signal::KILL);
        }
        leftovers::kill_marked(&self.mark);
        if let Some(program) = &self.container {
            kill_container(program.clone(), self.mark.clone());
        }
        self.records.end(&self.mark);
    }

    /// Waits until the process has left by itself, as its stdin is closed; asks it, then ends the group.
    pub(crate) async fn leave(&self, mut child: Child) {
        if tokio::time::timeout(LEAVE, child.wait()).await.is_err()
            && let Some(leader) = self.leader
        {
            let _ = rustix::process::kill_process_group(leader, Signal::TERM);
            let _ = tokio::time::timeout(LEAVE, child.wait()).await;
        }
        let group = self.clone();
        // It looks through all processes.
        let _ = tokio::task::spawn_blocking(move || group.kill()).await;
        let _ = child.wait().await;
    }
}

/// Reads stderr to its end: a server whose stderr is full stands still.
async fn drain(
    server: String,
    mut stderr: ChildStderr,
    tail: Arc<Mutex<Tail>>,
    redactor: Redactor,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = stderr.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&buffer[..read]);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            tail.logged += 1;
            if tail.logged <= MAX_LOGGED {
                tracing::debug!(
                    server,
                    line = shown(&redactor.clean(line), 500),
                    "stderr of an MCP server"
                );
            }
        }
        tail.bytes.extend_from_slice(&buffer[..read]);
        let over = tail.bytes.len().saturating_sub(TAIL);
        tail.bytes.drain(..over);
    }
}

/// Whether the program runs a container, which outlives the client that was asked to run it.
fn is_container(program: &Program) -> bool {
    let name = Path::new(&program.command)
        .file_name()
        .and_then(OsStr::to_str);
    matches!(name, Some("docker" | "podman"))
        && program.args.first().is_some_and(|one| one == "run")
}

/// The arguments; a container gets a label that it is found by.
fn arguments(program: &Program, is_container: bool, mark: &str) -> Vec<String> {
    let mut args = program.args.clone();
    if is_container {
        args.insert(1, format!("--label={}={mark}", leftovers::LABEL));
    }
    args
}

/// Ends a container by its label, beside other work.
fn kill_container(program: PathBuf, mark: String) {
    std::thread::spawn(move || {
        let filter = format!("label={}={mark}", leftovers::LABEL);
        let run = |args: &[&str]| {
            std::process::Command::new(&program)
                .args(args)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output()
        };
        let Ok(listed) = run(&["ps", "-q", "--filter", &filter]) else {
            return;
        };
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for id in listed
            .split_whitespace()
            .filter(|id| id.chars().all(|c| c.is_ascii_alphanumeric()))
        {
            let _ = run(&["kill", id]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(command: &str, env: &[(&str, &str)]) -> Program {
        Program {
            command: command.to_owned(),
            args: Vec::new(),
            env: env
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            cwd: None,
        }
    }

    /// ahead-tools/20.
    #[test]
    fn what_is_not_found_names_the_folders_searched() {
        let error = program("npx-nowhere", &[("PATH", "/usr/bin:/opt/x")])
            .resolve()
            .unwrap_err();
        assert!(
            error.to_string().contains("searched /usr/bin, /opt/x"),
            "{error}"
        );
        assert_eq!(
            program("sh", &[("PATH", "/nowhere:/bin")])
                .resolve()
                .unwrap(),
            Path::new("/bin/sh")
        );
        let error = program("./none", &[]).resolve().unwrap_err();
        assert!(
            error.to_string().contains("`./none` was not found"),
            "{error}"
        );
    }

    /// ahead-tools/20: `env` adds to a base, and an empty value stays one.
    #[test]
    fn the_environment_is_a_small_base_and_what_is_configured() {
        let env = program("x", &[("API_KEY", "k"), ("EMPTY", "")]).environment();
        assert_eq!(env["API_KEY"], "k");
        assert_eq!(env["EMPTY"], "");
        assert!(env.contains_key("PATH"));
        // Set for every test by cargo, and no server's business.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert!(!env.contains_key("CARGO_MANIFEST_DIR"));
    }

    /// ahead-tools/34.
    #[test]
    fn containers_get_a_label() {
        let mut docker = program("/usr/bin/docker", &[]);
        docker.args = ["run", "-i", "--rm", "image"].map(str::to_owned).to_vec();
        assert!(is_container(&docker));
        let args = arguments(&docker, true, "m1");
        assert_eq!(
            args,
            ["run", "--label=opspawn.mcp=m1", "-i", "--rm", "image"]
        );
        assert!(!is_container(&program("docker", &[])));
    }
}
