//! `cargo xtask fuzz`: builds the programs in `fuzz/` and runs each of them for its share of the time.
//!
//! libFuzzer needs a C++ compiler and the instrumentation that rustc brings along, and no other toolchain. What a program
//! finds worth keeping goes to the target folder; the seeds are in `fuzz/seeds` and among the fixtures that
//! `fuzz/fixtures.txt` names.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::cmd::{self, Workspace};

/// How the crates are instrumented: counters of edges, and the operands of comparisons.
const INSTRUMENTATION: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// The longest that one input may take, in seconds, before it is a finding.
const TIMEOUT: u64 = 25;
/// The most memory that a program may take, in MiB, before it is a finding.
const MEMORY: u64 = 2_048;
/// After so many findings of one target its time goes to the others.
const MAX_FINDINGS: usize = 5;

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to fuzz in all; each target has the same share.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Only build the programs.
    #[arg(long)]
    build: bool,
    /// Use the programs as they are.
    #[arg(long, conflicts_with = "build")]
    no_build: bool,
    /// Targets; all if none is named.
    targets: Vec<String>,
}

/// Builds and runs the programs. An input that makes one panic, take too long or take too much memory is a finding.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    let all = programs(&workspace.root)?;
    if let Some(unknown) = args.targets.iter().find(|name| !all.contains(*name)) {
        let known: Vec<&str> = all.iter().map(String::as_str).collect();
        bail!(
            "there is no target `{unknown}`; there are {}",
            known.join(", ")
        );
    }
    let chosen: Vec<&String> = match args.targets.is_empty() {
        true => all.iter().collect(),
        false => args.targets.iter().collect(),
    };
    let folder = workspace.target.join("fuzz");
    let host = host(workspace)?;
    if !args.no_build {
        build(workspace, &folder, &host)?;
    }
    if args.build {
        return Ok(());
    }
    let share = Duration::from_secs((args.seconds / chosen.len() as u64).max(1));
    let mut findings = Vec::new();
    for name in chosen {
        let target = Target {
            name,
            program: folder.join(&host).join("release").join(name),
            corpus: folder.join("corpus").join(name),
            artifacts: folder.join("artifacts").join(name),
        };
        target.sow(&workspace.root)?;
        findings.extend(target.fuzz(workspace, share)?);
    }
    if !findings.is_empty() {
        bail!(
            "{} findings\n  {}\nmend each, and keep its input in fuzz/seeds or in a test",
            findings.len(),
            findings.join("\n  ")
        );
    }
    Ok(())
}

/// The programs, by name.
fn programs(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut names = BTreeSet::new();
    for entry in entries {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        names.extend(stem.map(str::to_owned));
    }
    Ok(names)
}

/// The triple of this machine. With it, build scripts and macros are not instrumented.
fn host(workspace: &Workspace) -> anyhow::Result<String> {
    let told = cmd::output(workspace.command("rustc").arg("-vV"))?;
    let told = String::from_utf8_lossy(&told);
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

fn build(workspace: &Workspace, folder: &Path, host: &str) -> anyhow::Result<()> {
    let args = [
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target",
        host,
    ];
    let mut cargo = workspace.cargo(&args);
    cargo
        .arg("--target-dir")
        .arg(folder)
        .env("RUSTFLAGS", INSTRUMENTATION.join(" "));
    cmd::run(&mut cargo)
}

/// A target with its program and its folders.
struct Target<'a> {
    name: &'a str,
    program: PathBuf,
    corpus: PathBuf,
    artifacts: PathBuf,
}

impl Target<'_> {
    /// Puts the seeds into the corpus.
    fn sow(&self, root: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(&self.corpus)?;
        fs::create_dir_all(&self.artifacts)?;
        let fixtures = fs::read_to_string(root.join("fuzz/fixtures.txt"))?;
        let fixtures = fixtures.lines().filter_map(|line| line.split_once(' '));
        let own = fixtures.filter(|(name, _)| *name == self.name);
        let mut left = vec![root.join("fuzz/seeds").join(self.name)];
        left.extend(own.map(|(_, path)| root.join(path)));
        while let Some(path) = left.pop() {
            match fs::read_dir(&path) {
                Ok(entries) => left.extend(entries.filter_map(|entry| Some(entry.ok()?.path()))),
                Err(_) if path.is_file() => {
                    let name = path.strip_prefix(root)?.to_string_lossy().replace('/', "_");
                    fs::copy(&path, self.corpus.join(name))?;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Fuzzes for so long, and names the inputs that were found.
    fn fuzz(&self, workspace: &Workspace, share: Duration) -> anyhow::Result<Vec<String>> {
        let begun = Instant::now();
        let before = files(&self.artifacts)?;
        let (mut runs, mut coverage, mut found) = (0, 0, Vec::new());
        // A program ends with its first finding.
        while begun.elapsed() < share && found.len() < MAX_FINDINGS {
            let left = share.saturating_sub(begun.elapsed()).as_secs().max(1);
            let mut prefix = self.artifacts.clone().into_os_string();
            prefix.push("/");
            let mut command = workspace.command(&self.program);
            command
                .arg(&self.corpus)
                .args([
                    format!("-max_total_time={left}"),
                    format!("-timeout={TIMEOUT}"),
                    format!("-rss_limit_mb={MEMORY}"),
                    format!("-artifact_prefix={}", prefix.to_string_lossy()),
                    "-print_final_stats=1".to_owned(),
                ])
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            let output = command
                .output()
                .with_context(|| format!("cannot start {}", self.program.display()))?;
            let told = String::from_utf8_lossy(&output.stderr);
            runs += number(&told, "stat::number_of_executed_units:").unwrap_or(0);
            coverage = number(&told, " cov: ").unwrap_or(coverage);
            let now = files(&self.artifacts)?;
            found = now.difference(&before).cloned().collect();
            if !output.status.success() {
                let log = self.artifacts.with_extension("log");
                fs::write(&log, &*told)?;
                if found.is_empty() {
                    bail!(
                        "{} failed, and kept no input; see {}",
                        self.name,
                        log.display()
                    );
                }
            }
        }
        println!(
            "fuzz: {}: {runs} runs, {coverage} edges, {} findings, {} s",
            self.name,
            found.len(),
            begun.elapsed().as_secs()
        );
        Ok(found)
    }
}

fn files(folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        names.insert(entry?.path().display().to_string());
    }
    Ok(names)
}

/// The last number behind a label.
fn number(text: &str, label: &str) -> Option<u64> {
    let (_, after) = text.rsplit_once(label)?;
    let after = after.trim_start();
    let end = after.find(|c: char| !c.is_ascii_digit());
    after[..end.unwrap_or(after.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    /// The names of targets that a crate's module lists.
    fn listed() -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(root().join("crates")).unwrap() {
            let path = entry.unwrap().path();
            // The binary's targets have no programs: it has no library.
            if path.ends_with("opspawn") {
                continue;
            }
            let text = fs::read_to_string(path.join("src/fuzzing.rs")).unwrap_or_default();
            let named = text.split("        name: \"").skip(1);
            names.extend(named.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            let alone = text.split("[Target {\n    name: \"").skip(1);
            names.extend(alone.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
        names
    }

    #[test]
    fn every_target_has_a_program_and_every_program_a_target() {
        let programs = programs(&root()).unwrap();
        assert_eq!(programs, listed());
        let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        for name in programs {
            let source = root().join(format!("fuzz/fuzz_targets/{name}.rs"));
            let source = fs::read_to_string(source).unwrap();
            assert!(source.contains(&format!("program!(\"{name}\")")), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }

    #[test]
    fn every_fixture_and_folder_of_seeds_belongs_to_a_target() {
        let mut known = listed();
        // Those of the binary, which has no library.
        known.extend(["configuration", "evaluation", "recording"].map(str::to_owned));
        for entry in fs::read_dir(root().join("fuzz/seeds")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(known.contains(&name), "{name}");
        }
        let fixtures = fs::read_to_string(root().join("fuzz/fixtures.txt")).unwrap();
        for line in fixtures.lines().filter(|line| !line.starts_with('#')) {
            let (name, path) = line.split_once(' ').unwrap();
            assert!(known.contains(name) && root().join(path).exists(), "{line}");
        }
    }

    #[test]
    fn figures_are_read_from_what_a_program_prints() {
        let told =
            "#8\tNEW    cov: 17 ft: 3\n#9 cov: 1234 ft: 5\nstat::number_of_executed_units: 99\n";
        assert_eq!(number(told, " cov: "), Some(1234));
        assert_eq!(number(told, "stat::number_of_executed_units:"), Some(99));
        assert_eq!(number(told, "none"), None);
    }
}
