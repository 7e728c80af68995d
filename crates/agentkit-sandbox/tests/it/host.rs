//! A host of sandboxes in a process of its own, which can have another user.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// How a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// As root, with the cgroups that this machine has.
    Root,
    /// As root, without cgroups.
    RootWithoutCgroups,
    /// As user 65534, which has no cgroup to write to.
    Nobody,
    /// As the present user, who is not root.
    Own,
}

impl Tier {
    /// Every tier of this machine. Without root it is that of the present user, and CI, which shows all of
    /// them, fails.
    pub(crate) fn all() -> Vec<Self> {
        match is_root() {
            true => vec![Self::Root, Self::RootWithoutCgroups, Self::Nobody],
            false => vec![Self::Own],
        }
    }

    fn is_another_user(self) -> bool {
        self == Self::Nobody
    }
}

/// Whether the test is root, so that it can test every tier.
///
/// # Panics
/// In CI, if it is not.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let is_root = fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0);
    let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(
        is_root || !in_ci,
        "CI has to run the tests of the sandbox as root, to show every tier"
    );
    is_root
}

/// A folder for a host, which its user can use: the program in it, and a folder to grant.
pub(crate) struct TestDir {
    pub(crate) root: tempfile::TempDir,
    tier: Tier,
}

impl TestDir {
    pub(crate) fn new(tier: Tier) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = Self { root, tier };
        fs::set_permissions(dir.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["tool", "work", "outside"] {
            fs::create_dir(dir.path(folder)).unwrap();
        }
        fs::copy(PROBE, dir.path("tool/probe")).unwrap();
        fs::write(dir.path("outside/secret"), "the canary").unwrap();
        fs::write(dir.path("outside/target"), "untouched").unwrap();
        for path in ["work", "outside", "outside/secret", "outside/target"] {
            dir.own(path);
        }
        dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let root = self.root.path().canonicalize().unwrap();
        if name.is_empty() {
            root
        } else {
            root.join(name)
        }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Gives a path to the host's user.
    pub(crate) fn own(&self, name: &str) {
        if self.tier.is_another_user() {
            std::os::unix::fs::chown(self.path(name), Some(65_534), Some(65_534)).unwrap();
        }
    }

    pub(crate) fn host(&self, options: &[&str]) -> Host {
        Host::start(self, options)
    }

    /// The same attempt outside; whether it succeeded.
    pub(crate) fn unsandboxed(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new(self.path("tool/probe"));
        command.arg("attempt").args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.tier.is_another_user() {
            command.uid(65_534).gid(65_534);
        }
        command.status().unwrap().code() == Some(42)
    }

    /// A call of the program with the work folder granted.
    pub(crate) fn attempt(&self, arguments: &[&str]) -> Value {
        let mut words = vec!["/tool/probe", "attempt"];
        words.extend(arguments);
        json!({
            "arguments": words,
            "grants": [
                {"source": self.text("tool"), "target": "/tool"},
                {"source": self.text("work"), "target": "/workspace", "writable": true},
            ],
        })
    }
}

/// The process.
pub(crate) struct Host {
    pub(crate) child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// What it said first.
    pub(crate) hello: Value,
}

impl Host {
    fn start(dir: &TestDir, options: &[&str]) -> Self {
        let mut command = Command::new(dir.path("tool/probe"));
        command.arg("host").args(options);
        if dir.tier == Tier::RootWithoutCgroups {
            command.arg("without-cgroups");
        }
        if dir.tier.is_another_user() {
            command.uid(65_534).gid(65_534);
        }
        command.env("HOST_SECRET", "the canary of the environment");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut host = Self {
            child,
            input,
            output,
            hello: Value::Null,
        };
        host.hello = host.read();
        host
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    pub(crate) fn ask(&mut self, request: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{request}").unwrap();
    }

    pub(crate) fn run(&mut self, request: &Value) -> Value {
        self.ask(request);
        self.read()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.hello["report"].is_string()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It ends with its input, and its helper with it.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// Processes whose name is this one and that are not dead: an init may reap slowly.
pub(crate) fn named(marker: &str) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let has = |line: &str| status.lines().any(|found| found.starts_with(line));
        has(&format!("Name:\t{marker}")) && !has("State:\tZ") && !has("State:\tX")
    })
    .collect()
}

/// Kills what an attempt outside has left, and waits for its end.
pub(crate) fn clear(marker: &str) {
    for _ in 0..200 {
        let left = named(marker);
        if left.is_empty() {
            return;
        }
        let pids = left.iter().map(ToString::to_string);
        let _ = Command::new("kill")
            .arg("-9")
            .args(pids)
            .stderr(Stdio::null())
            .status();
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{marker} does not end");
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
