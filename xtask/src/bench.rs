//! Opspawn beside its peers, or beside another binary of its own, in one run: figures of two runs cannot
//! be compared.

mod pairs;
mod peers;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use serde_json::{Value, json};

use self::peers::{Peer, Peers};
use crate::cmd::{self, Workspace};

/// Agents at once, and the rounds that their bench makes of each.
const AGENTS: [(usize, usize); 3] = [(1, 100), (100, 10), (1_000, 1)];
/// Model and tool steps of each agent.
const TURNS: usize = 10;
/// What is measured: the features of a release.
const PRODUCT: &[&str] = &["--package", "opspawn", "--features", "full"];
/// What measures it.
const TOOLS: &[&str] = &[
    "--package",
    "opspawn-bench",
    "--package",
    "ops-testkit",
    "--bins",
];
/// What the durable steps of the peers are measured with: they are slower.
const PEER_STEPS: [&str; 6] = ["--clients", "64", "--tasks", "128", "--steps", "50"];

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often Opspawn and its peers are measured in turn.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// An `opspawn` binary, also an older one, in place of the peers: both run `submit` and `steps`
    /// interleaved.
    #[arg(long, value_name = "FILE", conflicts_with = "rounds")]
    against: Option<PathBuf>,
    /// The binary that is compared with `--against` [default: this tree, built]
    #[arg(long, value_name = "FILE", requires = "against")]
    binary: Option<PathBuf>,
    /// How often both binaries are compared; an even number.
    #[arg(long, value_name = "N", default_value_t = 10, requires = "against")]
    pairs: usize,
    /// Tasks of each run of `--against` [default: those of `submit` and of `steps`]
    #[arg(long, value_name = "N", requires = "against")]
    tasks: Option<usize>,
    /// The profile of all builds; another than `dist` tries the bench itself.
    #[arg(long, value_name = "NAME", default_value = "dist")]
    profile: String,
}

/// Ours and the peer's line of one round.
type Pair = (Value, Value);

/// Prints the line of each bench, then how Opspawn and what it is beside compare.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    let data = workspace.target.join("peers").join("data");
    fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let bench = Bench::build(workspace, data, args)?;
    match &args.against {
        Some(against) => pairs::run(&bench, against, args),
        None => beside_peers(&bench, args.rounds),
    }
}

fn beside_peers(bench: &Bench<'_>, rounds: usize) -> anyhow::Result<()> {
    let peers = Peers::install(bench.workspace);
    let mut ratios = Vec::new();
    let (mut many, mut dbos, mut restate) = (Vec::new(), Vec::new(), Vec::new());
    // In turn, so that what else the machine does meets all.
    for _ in 0..rounds.max(1) {
        let own = bench.own(&["submit", "--clients", "32"])?;
        bench.beside(&mut many, &own, peers.celery.as_ref(), &["--clients", "32"]);
        let own = bench.own(&["steps"])?;
        bench.beside(&mut dbos, &own, peers.dbos.as_ref(), &PEER_STEPS);
        bench.beside(&mut restate, &own, peers.restate.as_ref(), &PEER_STEPS);
    }
    ratios.extend(compared("celery", &many, "/tasks_per_second"));
    ratios.extend(compared("dbos", &dbos, "/steps_per_second"));
    ratios.extend(compared("restate", &restate, "/steps_per_second"));
    let (mut one, own) = (Vec::new(), bench.own(&["submit", "--clients", "1"])?);
    bench.beside(&mut one, &own, peers.celery.as_ref(), &["--clients", "1"]);
    ratios.extend(compared("celery", &one, "/post_ms/p50"));
    ratios.extend(compared("celery", &one, "/submit_to_completed_ms/p50"));
    ratios.extend(bench.agents(peers.rig.as_ref(), rounds.max(1))?);
    for alone in ["long", "sse", "start"] {
        bench.own(&[alone])?;
    }
    for ratio in ratios {
        println!("{ratio}");
    }
    Ok(())
}

struct Bench<'a> {
    workspace: &'a Workspace,
    /// Where all keep their data while they run.
    data: PathBuf,
    /// Where the programs are that measure.
    programs: PathBuf,
    /// The binary that is measured.
    binary: PathBuf,
}

impl<'a> Bench<'a> {
    /// Builds what measures, and what is measured unless the arguments name it.
    fn build(workspace: &'a Workspace, data: PathBuf, args: &Args) -> anyhow::Result<Self> {
        let build = |what: &[&str]| {
            let mut cargo = workspace.cargo(&["build", "--locked", "--profile", &args.profile]);
            cmd::run(cargo.args(what))
        };
        let folder = match args.profile.as_str() {
            "dev" => "debug",
            profile => profile,
        };
        let programs = workspace.target.join(folder);
        let binary = match &args.binary {
            Some(binary) => found(binary)?,
            None => {
                build(PRODUCT)?;
                programs.join("opspawn")
            }
        };
        // Apart from the product: built together, the two would share one set of features.
        build(TOOLS)?;
        Ok(Self {
            workspace,
            data,
            programs,
            binary,
        })
    }

    fn opspawn(&self, args: &[&str]) -> Command {
        self.measured(&self.binary, args)
    }

    /// A bench of a binary.
    fn measured(&self, binary: &Path, args: &[&str]) -> Command {
        let mut command = self.workspace.command(self.programs.join("opspawn-bench"));
        command.args(args).arg("--binary").arg(binary);
        command.current_dir(&self.data);
        command
    }

    /// The last line of one of ours.
    fn own(&self, args: &[&str]) -> anyhow::Result<Value> {
        last_line(&mut self.opspawn(args))
    }

    /// Measures a peer, if there is one, beside a line of ours.
    fn beside(&self, pairs: &mut Vec<Pair>, own: &Value, peer: Option<&Peer>, args: &[&str]) {
        let Some(peer) = peer else { return };
        let line = lines_of(peer.command(self.workspace, &self.data).args(args));
        match line.and_then(|mut lines| lines.pop().context("it said nothing")) {
            Ok(line) => pairs.push((own.clone(), line)),
            Err(error) => peers::skipped(peer.name, &error),
        }
    }

    /// Agents of ours, as a library and durably, and of rig, against one stand-in for a model.
    fn agents(&self, rig: Option<&Peer>, rounds: usize) -> anyhow::Result<Vec<Value>> {
        let model = Model::start(self)?;
        let (mut library, mut durable) = (Vec::new(), Vec::new());
        for (agents, peer_rounds) in AGENTS {
            let (mut of_library, mut of_durable) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let agents = agents.to_string();
                let args = ["agents", "--base-url", &model.base_url, "--agents", &agents];
                let own = lines_of(&mut self.opspawn(&args))?;
                let Some(rig) = rig else { continue };
                let mut command = rig.command(self.workspace, &self.data);
                command.env("OPENAI_BASE_URL", &model.base_url).args([
                    agents,
                    TURNS.to_string(),
                    peer_rounds.to_string(),
                ]);
                match lines_of(&mut command) {
                    Ok(lines) => {
                        let peer = lines.into_iter().next_back().unwrap_or_default();
                        of_library.extend(own.first().map(|own| (own.clone(), peer.clone())));
                        of_durable.extend(own.get(1).map(|own| (own.clone(), peer)));
                    }
                    Err(error) => peers::skipped(rig.name, &error),
                }
            }
            library.push(of_library);
            durable.push(of_durable);
        }
        let mut ratios = Vec::new();
        for pairs in library.iter().chain(&durable) {
            for figure in ["/wall_ms_per_step", "/cpu_us_per_step", "/peak_rss_mib"] {
                ratios.extend(compared("rig", pairs, figure));
            }
        }
        Ok(ratios)
    }
}

/// A file that was named, as an absolute path: the programs run in another folder.
fn found(file: &Path) -> anyhow::Result<PathBuf> {
    let path = file.canonicalize();
    path.with_context(|| format!("there is no binary {}", file.display()))
}

/// The stand-in for a model that all agents talk to.
struct Model {
    child: Child,
    base_url: String,
}

impl Model {
    fn start(bench: &Bench<'_>) -> anyhow::Result<Self> {
        let call = json!({"tool": "calculator", "arguments": {"expression": "1 + 2"}});
        let script = json!({"turns": vec![call; TURNS], "answer": "done"});
        let file = bench.data.join("script.json");
        fs::write(&file, script.to_string())?;
        let mut command = bench
            .workspace
            .command(bench.programs.join("opspawn-model-stub"));
        let mut child = command
            .arg("--script")
            .arg(&file)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the stand-in for a model cannot be started")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("it has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line).unwrap_or_default();
        let url = ready["ready"].as_str();
        let url = url.context("the stand-in for a model did not start")?;
        Ok(Self {
            child,
            base_url: format!("{url}/v1"),
        })
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // It ends by itself once its standard input is closed.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Runs a bench, shows its lines and gives what they say.
fn lines_of(command: &mut Command) -> anyhow::Result<Vec<Value>> {
    let answer = cmd::output(command)?;
    let mut lines = Vec::new();
    for line in str::from_utf8(&answer)?.lines() {
        println!("{line}");
        lines.push(
            serde_json::from_str(line).with_context(|| {
                format!("{} did not answer in lines of JSON", cmd::shown(command))
            })?,
        );
    }
    Ok(lines)
}

/// The last line of a bench.
fn last_line(command: &mut Command) -> anyhow::Result<Value> {
    lines_of(command)?
        .pop()
        .context("the bench printed nothing")
}

/// One figure of both in each round, and the ratio of ours to the peer's; none without a round.
fn compared(peer: &str, rounds: &[Pair], figure: &str) -> Option<Value> {
    let first = rounds.first()?;
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
    let about = |key: &str| json!([first.0[key], first.1[key]]);
    Some(json!({
        "bench": "ratio",
        "beside": peer,
        "figure": figure.trim_start_matches('/').replace('/', "."),
        "clients": first.0["clients"],
        "agents": first.0["agents"],
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
    }))
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
            "peer",
            &[round(8.0, 2.0), round(9.0, 1.0), round(5.0, 1.0)],
            "/post_ms/p50",
        )
        .unwrap();
        assert_eq!(line["figure"], "post_ms.p50");
        assert_eq!(line["store"], json!(["sqlite", "redis"]));
        assert_eq!(line["opspawn"], json!([8.0, 9.0, 5.0]));
        assert_eq!(line["ratio"], json!({"p50": 5.0, "min": 4.0, "max": 9.0}));
    }

    #[test]
    fn a_missing_figure_is_null() {
        let line = compared("peer", &[(json!({}), json!({}))], "/tasks_per_second");
        assert_eq!(line.unwrap()["ratio"]["p50"], Value::Null);
    }

    #[test]
    fn a_peer_that_was_not_measured_has_no_ratio() {
        assert_eq!(compared("peer", &[], "/tasks_per_second"), None);
    }
}
