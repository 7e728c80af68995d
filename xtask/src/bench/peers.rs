//! The peers: how each is installed into cargo's target folder, and how it is run.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::cmd::{self, Workspace};

/// A peer that can be run.
pub(super) struct Peer {
    /// Its name.
    pub(super) name: &'static str,
    program: PathBuf,
    args: Vec<PathBuf>,
    env: Vec<(&'static str, PathBuf)>,
}

impl Peer {
    /// A command of its bench, with its data in a folder.
    pub(super) fn command(&self, workspace: &Workspace, data: &PathBuf) -> Command {
        let mut command = workspace.command(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(data);
        command
    }
}

/// Every peer that this machine can install; the others are named with the reason.
pub(super) struct Peers {
    pub(super) celery: Option<Peer>,
    pub(super) dbos: Option<Peer>,
    pub(super) restate: Option<Peer>,
    pub(super) rig: Option<Peer>,
}

impl Peers {
    pub(super) fn install(workspace: &Workspace) -> Self {
        Self {
            celery: found("celery", celery(workspace)),
            dbos: found("dbos", python(workspace, "dbos")),
            restate: found("restate", restate(workspace)),
            rig: found("rig", rig(workspace)),
        }
    }
}

/// Says aloud which peer is missing, and why.
fn found(name: &str, peer: anyhow::Result<Peer>) -> Option<Peer> {
    peer.inspect_err(|error| skipped(name, error)).ok()
}

/// What is said of a peer that is not measured.
pub(super) fn skipped(name: &str, error: &anyhow::Error) {
    eprintln!("SKIPPED the peer {name}: {error:#}");
}

fn celery(workspace: &Workspace) -> anyhow::Result<Peer> {
    if !cmd::answers(Command::new("redis-server").arg("--version")) {
        install_redis(workspace)?;
    }
    python(workspace, "celery")
}

fn install_redis(workspace: &Workspace) -> anyhow::Result<()> {
    let root = cmd::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim_ascii() == b"0");
    anyhow::ensure!(
        root && cmd::answers(Command::new("apt-get").arg("--version")),
        "it needs redis-server, which is missing"
    );
    for args in [
        &["update"][..],
        &[
            "install",
            "--yes",
            "--no-install-recommends",
            "redis-server",
        ],
    ] {
        let mut apt = workspace.command("apt-get");
        apt.arg("--quiet=2")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive");
        // Standard output is for figures.
        cmd::output(&mut apt)?;
    }
    Ok(())
}

/// A peer in Python: a virtual environment that has what it asks for, and its `bench.py`.
fn python(workspace: &Workspace, name: &'static str) -> anyhow::Result<Peer> {
    let sources = workspace.root.join("benches/peers").join(name);
    let venv = workspace.target.join("peers").join(name);
    let program = venv.join("bin/python");
    let wanted = sources.join("requirements.txt");
    let stamp = venv.join("requirements.txt");
    let packages = fs::read(&wanted).with_context(|| format!("no {}", wanted.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == packages) {
        return Ok(python_peer(name, program, sources));
    }
    let python = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut create = Command::new(python);
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    cmd::output(&mut create).context("it needs Python >= 3.11 with its module venv")?;
    let mut pip = workspace.command(&program);
    pip.args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(&wanted);
    cmd::output(&mut pip)?;
    fs::write(&stamp, packages)?;
    Ok(python_peer(name, program, sources))
}

fn python_peer(name: &'static str, program: PathBuf, sources: PathBuf) -> Peer {
    Peer {
        name,
        program,
        args: vec![sources.join("bench.py")],
        env: vec![("PYTHONDONTWRITEBYTECODE", "1".into())],
    }
}

/// The server comes as an npm package with the binary in it; nothing is downloaded besides.
fn restate(workspace: &Workspace) -> anyhow::Result<Peer> {
    let sources = workspace.root.join("benches/peers/restate");
    let folder = workspace.target.join("peers/restate");
    let wanted = fs::read(sources.join("package.json"))?;
    let stamp = folder.join("installed.json");
    if !fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("package.json"), &wanted)?;
        let mut npm = workspace.command("npm");
        npm.current_dir(&folder).args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
        ]);
        cmd::output(&mut npm).context("it needs Node >= 20 with npm")?;
        fs::write(&stamp, &wanted)?;
    }
    Ok(Peer {
        name: "restate",
        program: "node".into(),
        args: vec![sources.join("bench.mjs")],
        env: vec![("PEER_MODULES", folder)],
    })
}

/// Built in a workspace of its own.
fn rig(workspace: &Workspace) -> anyhow::Result<Peer> {
    let target = workspace.target.join("peers/rig");
    let mut build = workspace.cargo(&["build", "--release", "--quiet", "--locked"]);
    build
        .arg("--manifest-path")
        .arg(workspace.root.join("benches/peers/rig/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target);
    cmd::output(&mut build)?;
    Ok(Peer {
        name: "rig",
        program: target.join("release/peer-rig"),
        args: Vec::new(),
        env: vec![("OPENAI_API_KEY", "none".into())],
    })
}
