//! `opspawn bench` beside a peer, in one run: figures of two runs cannot be compared.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::cmd::{self, Workspace};

const PEER: &str = "benches/peers/celery";

/// Prints the line of each bench, then how Opspawn and the peer compare.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> anyhow::Result<()> {
    let bench = Bench::prepare(workspace)?;
    let mut many = Vec::new();
    // In turn, so that what else the machine does meets both.
    for _ in 0..rounds.max(1) {
        many.push((bench.own(&["submit", "--clients", "32"])?, bench.peer(32)?));
    }
    let one = [(bench.own(&["submit", "--clients", "1"])?, bench.peer(1)?)];
    bench.own(&["steps"])?;
    bench.own(&["start"])?;

    println!("{}", compared(&many, "/tasks_per_second"));
    println!("{}", compared(&one, "/post_ms/p50"));
    println!("{}", compared(&one, "/submit_to_completed_ms/p50"));
    Ok(())
}

struct Bench<'a> {
    workspace: &'a Workspace,
    python: PathBuf,
    /// Where both keep their data while they run.
    data: PathBuf,
}

impl<'a> Bench<'a> {
    /// Builds the program and installs the peer.
    fn prepare(workspace: &'a Workspace) -> anyhow::Result<Self> {
        let peers = workspace.target.join("peers");
        let data = peers.join("data");
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        if !cmd::answers(Command::new("redis-server").arg("--version")) {
            install_redis(workspace)?;
        }
        let python = install_packages(workspace, peers.join("venv"))?;
        cmd::run(&mut workspace.cargo(&["build", "--release", "--package", "opspawn"]))?;
        Ok(Self {
            workspace,
            python,
            data,
        })
    }

    fn own(&self, args: &[&str]) -> anyhow::Result<Value> {
        let mut command = self
            .workspace
            .cargo(&["run", "--release", "--quiet", "--manifest-path"]);
        command
            .arg(self.workspace.root.join("Cargo.toml"))
            .args(["--package", "opspawn", "--", "bench"])
            .args(args)
            .current_dir(&self.data);
        line_of(&mut command)
    }

    fn peer(&self, clients: usize) -> anyhow::Result<Value> {
        let mut command = self.workspace.command(&self.python);
        command
            .arg(self.workspace.root.join(PEER).join("bench.py"))
            .args(["--clients", &clients.to_string()])
            .current_dir(&self.data);
        line_of(&mut command)
    }
}

/// Runs a bench, shows its line and gives what it says.
fn line_of(command: &mut Command) -> anyhow::Result<Value> {
    let answer = cmd::output(command)?;
    let line = str::from_utf8(&answer)?.trim();
    println!("{line}");
    serde_json::from_str(line)
        .with_context(|| format!("{} did not answer one line of JSON", cmd::shown(command)))
}

fn install_redis(workspace: &Workspace) -> anyhow::Result<()> {
    let root = cmd::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim_ascii() == b"0");
    anyhow::ensure!(
        root && cmd::answers(Command::new("apt-get").arg("--version")),
        "the peer needs redis-server, which is missing"
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

/// The Python of a virtual environment that has what the peer asks for.
fn install_packages(workspace: &Workspace, venv: PathBuf) -> anyhow::Result<PathBuf> {
    let python = venv.join("bin/python");
    let wanted = workspace.root.join(PEER).join("requirements.txt");
    let stamp = venv.join("requirements.txt");
    let packages = fs::read(&wanted).with_context(|| format!("no {}", wanted.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == packages) {
        return Ok(python);
    }
    let program = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut create = Command::new(program);
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    cmd::output(&mut create).context("the peer needs Python >= 3.11 with its module venv")?;
    let mut pip = workspace.command(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(&wanted);
    cmd::output(&mut pip)?;
    fs::write(&stamp, packages)?;
    Ok(python)
}

/// One figure of both in each round, and the ratio of ours to the peer's.
fn compared(rounds: &[(Value, Value)], figure: &str) -> Value {
    let of = |line: &Value| {
        line.pointer(figure)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    };
    let mut ratios: Vec<f64> = rounds
        .iter()
        .map(|(own, peer)| of(own) / of(peer))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |index: usize| {
        ratios
            .get(index)
            .map(|ratio| (ratio * 1_000.0).round() / 1_000.0)
    };
    let about = |key: &str| {
        rounds
            .first()
            .map(|(own, peer)| json!([own[key], peer[key]]))
    };
    json!({
        "bench": "ratio",
        "figure": figure.trim_start_matches('/').replace('/', "."),
        "clients": rounds.first().map(|(own, _)| &own["clients"]),
        "what": about("what"),
        "store": about("store"),
        "durability": about("durability"),
        "opspawn": rounds.iter().map(|(own, _)| of(own)).collect::<Vec<_>>(),
        "peer": rounds.iter().map(|(_, peer)| of(peer)).collect::<Vec<_>>(),
        "ratio": {
            "p50": at(ratios.len() / 2),
            "min": at(0),
            "max": at(ratios.len().saturating_sub(1)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let round = |own: f64, peer: f64| {
            let line = |store: &str, rate: f64| json!({"store": store, "post_ms": {"p50": rate}});
            (line("sqlite", own), line("redis", peer))
        };
        let line = compared(
            &[round(8.0, 2.0), round(9.0, 1.0), round(5.0, 1.0)],
            "/post_ms/p50",
        );
        assert_eq!(line["figure"], "post_ms.p50");
        assert_eq!(line["store"], json!(["sqlite", "redis"]));
        assert_eq!(line["opspawn"], json!([8.0, 9.0, 5.0]));
        assert_eq!(line["ratio"], json!({"p50": 5.0, "min": 4.0, "max": 9.0}));
    }

    #[test]
    fn a_missing_figure_is_null() {
        let line = compared(&[(json!({}), json!({}))], "/tasks_per_second");
        assert_eq!(line["ratio"]["p50"], Value::Null);
    }
}
