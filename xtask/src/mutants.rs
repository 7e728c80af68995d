//! Named mistakes, and the test that notices each.
//!
//! Every mutant stands in the code behind a switch (`units::mutant!`) and in `xtask/mutants.toml` with the
//! promise that it breaks and the test that must fail for it. All of them are in the one build of the
//! tests; a run turns one on and runs its test alone, so that a mutant costs seconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use crate::{
    cmd::{self, Workspace},
    servers::{Missing, Servers},
    test::ONE_SET,
};

const TABLE: &str = "xtask/mutants.toml";
/// The variable that turns a mutant on, as `units::mutants::VARIABLE`.
const VARIABLE: &str = "OPSPAWN_MUTANT";
/// What nextest ends with when a test failed.
const TESTS_FAILED: i32 = 100;
/// CI tries one of so many parts, another one for another commit.
const PARTS: usize = 3;

/// Which mutants to try.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Choice {
    /// All of them, in place of the third that this commit is tried with.
    #[arg(long)]
    all: bool,
    /// Only those whose names begin so.
    names: Vec<String>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    /// As in the code: `CRATE.WHAT`.
    name: String,
    /// The promise that it breaks, and the case that it was found by, if it was.
    breaks: String,
    /// What the code does wrong while it is on.
    what: String,
    /// The tests of which one has to fail, as a filter of nextest.
    test: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Mutant>,
}

/// Tries the mutants and fails if a test did not notice one.
pub(crate) fn run(workspace: &Workspace, missing: Missing, choice: &Choice) -> anyhow::Result<()> {
    let table = read(workspace)?;
    let chosen = choose(&table, choice, part(workspace)?);
    ensure!(!chosen.is_empty(), "no mutant has such a name");
    cmd::run(
        workspace
            .cargo(&["build", "--bins", "--tests"])
            .args(ONE_SET),
    )?;
    let servers = Servers::start(workspace, missing)?;
    let built = Built::ask(workspace, &servers)?;
    // A test without its server fails whatever the mutant does.
    let (chosen, skipped): (Vec<Mutant>, Vec<Mutant>) = chosen.into_iter().partition(|mutant| {
        let mut without = servers.without().iter();
        !without.any(|module| mutant.test.contains(module))
    });
    for mutant in skipped {
        println!("mutants: SKIPPED for want of a server: {}", mutant.name);
    }

    let began = Instant::now();
    let mut survived = Vec::new();
    for mutant in &chosen {
        let begin = Instant::now();
        let killed = built.kills(mutant)?;
        let word = if killed { "killed" } else { "SURVIVED" };
        println!(
            "mutants: {word} in {:.1} s: {} ({})",
            begin.elapsed().as_secs_f64(),
            mutant.name,
            mutant.breaks
        );
        if !killed {
            survived.push(format!(
                "{}: {}; `{}` passes all the same",
                mutant.name, mutant.what, mutant.test
            ));
        }
    }
    if !survived.is_empty() {
        bail!(
            "{} of {} mutants survived\n  {}",
            survived.len(),
            chosen.len(),
            survived.join("\n  ")
        );
    }
    println!(
        "mutants: {} of {} tried in {:.0} s, all killed",
        chosen.len(),
        table.len(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Reads the table, and fails unless it and the code name the same mutants, each once.
fn read(workspace: &Workspace) -> anyhow::Result<Vec<Mutant>> {
    let path = workspace.root.join(TABLE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {TABLE}"))?;
    let table: Table = toml::from_str(&text).with_context(|| format!("{TABLE} is not valid"))?;
    let mut code = BTreeMap::new();
    for folder in fs::read_dir(workspace.root.join("crates"))? {
        switches(&folder?.path().join("src"), &mut code)?;
    }
    let wrong = differences(&table.mutant, &code);
    ensure!(wrong.is_empty(), "{TABLE}:\n  {}", wrong.join("\n  "));
    Ok(table.mutant)
}

/// What the table and the code do not agree about.
fn differences(table: &[Mutant], code: &BTreeMap<String, usize>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    for mutant in table {
        let name = mutant.name.as_str();
        if !named.insert(name) {
            wrong.push(format!("`{name}` stands twice"));
        }
        match code.get(name) {
            None => wrong.push(format!("`{name}` is nowhere in the code")),
            Some(1) => {}
            Some(times) => wrong.push(format!("`{name}` is in the code {times} times")),
        }
    }
    let missing = code.keys().filter(|name| !named.contains(name.as_str()));
    wrong.extend(missing.map(|name| format!("`{name}` is in the code, but has no row")));
    wrong
}

/// Counts the switches in the sources of a folder.
fn switches(folder: &Path, code: &mut BTreeMap<String, usize>) -> anyhow::Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            switches(&path, code)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            for name in names(&fs::read_to_string(&path)?) {
                *code.entry(name.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(())
}

/// The names in a source, but for that of the switch's own test.
fn names(source: &str) -> impl Iterator<Item = &str> {
    let calls = source.split("mutant!(\"").skip(1);
    let names = calls.filter_map(|rest| rest.split_once("\")").map(|(name, _)| name));
    names.filter(|name| *name != "units.none")
}

/// Those that were asked for: by name, all, or the part of this commit.
fn choose(table: &[Mutant], choice: &Choice, part: usize) -> Vec<Mutant> {
    let wanted = |(index, mutant): &(usize, &Mutant)| match choice.names.as_slice() {
        [] => choice.all || index % PARTS == part,
        names => names.iter().any(|name| mutant.name.starts_with(name)),
    };
    let chosen = table.iter().enumerate().filter(wanted);
    chosen.map(|(_, mutant)| mutant.clone()).collect()
}

/// Which part this commit is tried with.
fn part(workspace: &Workspace) -> anyhow::Result<usize> {
    let head = cmd::output(workspace.command("git").args(["rev-parse", "HEAD"]))?;
    let sum: usize = head.iter().map(|byte| usize::from(*byte)).sum();
    Ok(sum % PARTS)
}

/// The tests as they are built, so that no run asks cargo again.
struct Built<'a> {
    workspace: &'a Workspace,
    servers: &'a Servers,
    binaries: PathBuf,
    packages: PathBuf,
}

impl<'a> Built<'a> {
    fn ask(workspace: &'a Workspace, servers: &'a Servers) -> anyhow::Result<Self> {
        let folder = workspace.target.join("mutants");
        fs::create_dir_all(&folder)?;
        let (binaries, packages) = (folder.join("binaries.json"), folder.join("packages.json"));
        let list = ["--list-type", "binaries-only", "--message-format", "json"];
        let mut command = workspace.cargo(&["nextest", "list"]);
        command.args(ONE_SET).args(list);
        fs::write(&binaries, cmd::output(&mut command)?)?;
        let mut command = workspace.cargo(&["metadata", "--format-version", "1"]);
        command.args(["--all-features", "--locked"]);
        fs::write(&packages, cmd::output(&mut command)?)?;
        Ok(Self {
            workspace,
            servers,
            binaries,
            packages,
        })
    }

    /// Whether a test of the mutant fails while it is on.
    fn kills(&self, mutant: &Mutant) -> anyhow::Result<bool> {
        let mut command = self.command(mutant);
        let output = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("could not start {}", cmd::shown(&command)))?;
        match output.status.code() {
            Some(0) => Ok(false),
            Some(TESTS_FAILED) => Ok(true),
            _ => bail!(
                "the tests of `{}` could not be run ({}):\n{}",
                mutant.name,
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }

    fn command(&self, mutant: &Mutant) -> Command {
        let mut command = self.workspace.cargo(&["nextest", "run"]);
        command
            .args(["--profile", "mutants", "--run-ignored", "all"])
            .arg("--binaries-metadata")
            .arg(&self.binaries)
            .arg("--cargo-metadata")
            .arg(&self.packages)
            .args(["--filterset", &mutant.test])
            .env(VARIABLE, &mutant.name)
            .env(
                "OPSPAWN_TEST_BINARY",
                self.workspace.target.join("debug").join("opspawn"),
            );
        self.servers.pass_on(&mut command);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(name: &str) -> Mutant {
        Mutant {
            name: name.to_owned(),
            breaks: "P1".to_owned(),
            what: "it forgets".to_owned(),
            test: "all()".to_owned(),
        }
    }

    #[test]
    fn table_and_code_name_the_same() {
        let source =
            r#"if mutant!("a.one") { } else if !mutant!("a.two") {} mutant!("units.none")"#;
        let mut code = BTreeMap::new();
        for name in names(source) {
            *code.entry(name.to_owned()).or_default() += 1;
        }
        assert!(differences(&[mutant("a.one"), mutant("a.two")], &code).is_empty());
        let wrong = differences(&[mutant("a.one"), mutant("a.one"), mutant("b")], &code);
        assert_eq!(
            wrong,
            [
                "`a.one` stands twice",
                "`b` is nowhere in the code",
                "`a.two` is in the code, but has no row"
            ]
        );
        code.insert("b".to_owned(), 2);
        assert!(differences(&[mutant("b")], &code)[0].contains("2 times"));
    }

    #[test]
    fn every_mutant_is_in_one_of_the_parts() {
        let table = ["a", "b", "c", "d", "e"].map(mutant);
        let mut all: Vec<String> = (0..PARTS)
            .flat_map(|part| choose(&table, &Choice::default(), part))
            .map(|mutant| mutant.name)
            .collect();
        all.sort();
        assert_eq!(all, ["a", "b", "c", "d", "e"]);
        let named = Choice {
            names: vec!["d".to_owned()],
            all: false,
        };
        assert_eq!(choose(&table, &named, 0), [mutant("d")]);
    }
}
