//! The file of cases.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use agentkit::policy::{InvalidPattern, Pattern};
use serde::Deserialize;
use serde_json::Value;

use super::checks::{Checks, Texts};

/// What a file says.
#[derive(Debug)]
pub(crate) struct File {
    /// The agent: a file, or a name with an optional `@` and the beginning of a digest.
    pub(crate) agent: Option<String>,
    /// What it is compared with, likewise; or a digest of the same agent.
    pub(crate) baseline: Option<String>,
    /// Who judges: a file of a definition, or the name of a model; none for the configured model.
    pub(crate) judge: Option<String>,
    /// The cases; never empty.
    pub(crate) cases: Vec<Case>,
    /// Where its paths begin.
    pub(crate) folder: PathBuf,
}

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its name, unique.
    pub(crate) name: String,
    /// What the agent is to do; else that of the recording.
    pub(crate) goal: Option<String>,
    /// The rest of `input_data`.
    pub(crate) input: BTreeMap<String, Value>,
    /// What the workspace begins with, by path.
    pub(crate) files: BTreeMap<String, String>,
    /// The tools whose calls are approved where the policy asks.
    pub(crate) approve: Vec<Pattern>,
    /// What a person answers, in the order of the questions.
    pub(crate) answers: Vec<String>,
    /// The old run whose tool outputs are replayed.
    pub(crate) recording: Option<Source>,
    /// The number of runs, from 1.
    pub(crate) repeat: u32,
    /// Share of the runs that must hold: above 0, 1 at most.
    pub(crate) pass_rate: f64,
    /// What must hold.
    pub(crate) checks: Checks,
}

/// The most runs of a case.
pub(crate) const MAX_REPEAT: u32 = 100;

/// Where an old run is.
#[derive(Debug)]
pub(crate) enum Source {
    /// A file of `opspawn task export`.
    File(PathBuf),
    /// A task of the server.
    Task(String),
}

#[derive(Deserialize)]
struct RawCase {
    name: Option<String>,
    goal: Option<String>,
    #[serde(default)]
    input: BTreeMap<String, Value>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    approve: Texts,
    #[serde(default)]
    answers: Texts,
    recording: Option<PathBuf>,
    task: Option<String>,
    repeat: Option<u32>,
    pass_rate: Option<f64>,
    #[serde(default)]
    check: RawChecks,
}

#[derive(Deserialize, Default)]
struct RawChecks {
    equals: Option<Value>,
    #[serde(default)]
    judge: Texts,
    #[serde(default)]
    contains: Texts,
    #[serde(default)]
    not_contains: Texts,
    #[serde(default)]
    regex: Texts,
    #[serde(default)]
    json: BTreeMap<String, Value>,
    schema: Option<Value>,
    #[serde(default)]
    calls: Texts,
    #[serde(default)]
    never_calls: Texts,
    max_steps: Option<u32>,
    max_tokens: Option<u64>,
    max_cost_usd: Option<f64>,
    max_divergences: Option<usize>,
}

const FILE: &[&str] = &["agent", "baseline", "judge", "repeat", "pass_rate", "case"];
const CASE: &[&str] = &[
    "name",
    "goal",
    "input",
    "files",
    "approve",
    "answers",
    "recording",
    "task",
    "repeat",
    "pass_rate",
    "check",
];
const CHECK: &[&str] = &[
    "equals",
    "judge",
    "contains",
    "not_contains",
    "regex",
    "json",
    "schema",
    "calls",
    "never_calls",
    "max_steps",
    "max_tokens",
    "max_cost_usd",
    "max_divergences",
];

/// Reads a file.
///
/// # Errors
/// The first mistake, and in which case it is.
pub(crate) fn read(path: &Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    parse(&text, folder).map_err(|message| format!("{}: {message}", path.display()))
}

impl File {
    /// The first check or approval that speaks of a tool which there is not: a check of a misspelt name
    /// always passes. A recording may have calls of other tools than these.
    pub(crate) fn unknown_tool(&self, tools: &[String]) -> Option<String> {
        self.cases.iter().find_map(|case| {
            let checks = [
                ("calls", &case.checks.calls),
                ("never_calls", &case.checks.never_calls),
            ];
            let names = checks
                .into_iter()
                .flat_map(|(key, names)| names.iter().map(move |name| (key, name.clone())))
                .filter(|(_, name)| !tools.contains(name));
            let patterns = case
                .approve
                .iter()
                .filter(|pattern| !tools.iter().any(|tool| pattern.matches(tool)))
                .map(|pattern| ("approve", pattern.to_string()));
            let (key, name) = names.chain(patterns).next()?;
            let hint = units::nearest::hint(&name, tools.iter().map(String::as_str));
            let case = &case.name;
            Some(format!(
                "case `{case}`: `{key}`: no tool is named `{name}`; {hint}"
            ))
        })
    }
}

pub(super) fn parse(text: &str, folder: PathBuf) -> Result<File, String> {
    let table: toml::Table = toml::from_str(text)
        .map_err(|error| format!("it is not valid TOML: {}", error.to_string().trim_end()))?;
    known("the file", &table, FILE)?;
    let reference = |key: &str| match table.get(key) {
        None => Ok(None),
        Some(toml::Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{key}` must be text")),
    };
    let entries = match table.get("case") {
        Some(toml::Value::Array(entries)) if !entries.is_empty() => entries,
        _ => return Err("it has no cases: write `[[case]]`".to_owned()),
    };
    let usual = Repeats {
        repeat: Repeats::count(table.get("repeat").map(toml::Value::as_integer))?,
        pass_rate: Repeats::rate(table.get("pass_rate").map(number))?,
    };
    let mut cases: Vec<Case> = Vec::with_capacity(entries.len());
    for (number, entry) in (1..).zip(entries) {
        let case = case(number, entry, &folder, &usual)
            .map_err(|message| format!("case {number}: {message}"))?;
        if cases.iter().any(|other| other.name == case.name) {
            return Err(format!("two cases are named `{}`; rename one", case.name));
        }
        cases.push(case);
    }
    Ok(File {
        agent: reference("agent")?,
        baseline: reference("baseline")?,
        judge: reference("judge")?,
        cases,
        folder,
    })
}

/// How often cases run that do not say so themselves.
struct Repeats {
    repeat: Option<u32>,
    pass_rate: Option<f64>,
}

impl Repeats {
    /// A number of runs; the inner value is none for a value that is no whole number.
    fn count(given: Option<Option<i64>>) -> Result<Option<u32>, String> {
        let Some(given) = given else { return Ok(None) };
        let count = given.and_then(|count| u32::try_from(count).ok());
        match count.filter(|count| (1..=MAX_REPEAT).contains(count)) {
            Some(count) => Ok(Some(count)),
            None => Err(format!(
                "`repeat` must be a whole number, 1 to {MAX_REPEAT}"
            )),
        }
    }

    /// A share of the runs.
    fn rate(given: Option<Option<f64>>) -> Result<Option<f64>, String> {
        let Some(given) = given else { return Ok(None) };
        match given.filter(|rate| *rate > 0.0 && *rate <= 1.0) {
            Some(rate) => Ok(Some(rate)),
            None => {
                Err("`pass_rate` must be a number above 0 and 1 at most, such as 0.8".to_owned())
            }
        }
    }
}

fn number(value: &toml::Value) -> Option<f64> {
    value
        .as_float()
        .or_else(|| value.as_integer().map(|number| number as f64))
}

fn case(
    number: usize,
    entry: &toml::Value,
    folder: &Path,
    usual: &Repeats,
) -> Result<Case, String> {
    let toml::Value::Table(entry) = entry else {
        return Err("it must be a table: write `[[case]]`".to_owned());
    };
    known("it", entry, CASE)?;
    if let Some(toml::Value::Table(check)) = entry.get("check") {
        known("`check`", check, CHECK)?;
    }
    let raw: RawCase = entry
        .clone()
        .try_into()
        .map_err(|error: toml::de::Error| error.message().to_owned())?;
    let recording = match (raw.recording, raw.task) {
        (Some(_), Some(_)) => {
            return Err("it has a `recording` and a `task`; leave out one".to_owned());
        }
        (Some(path), None) => Some(Source::File(folder.join(path))),
        (None, Some(task)) => Some(Source::Task(task)),
        (None, None) => None,
    };
    if raw.goal.is_none() && recording.is_none() {
        return Err("it has no `goal`, and no `recording` or `task` to take one from".to_owned());
    }
    let approve = raw.approve.0.iter().map(|tool| tool.parse());
    let approve = approve
        .collect::<Result<_, InvalidPattern>>()
        .map_err(|error| format!("`approve`: {error}"))?;
    let check = raw.check;
    let checks = Checks {
        equals: check.equals,
        judge: check.judge.0,
        contains: check.contains.0,
        not_contains: check.not_contains.0,
        regex: check.regex.0,
        json: check.json,
        schema: check.schema,
        calls: check.calls.0,
        never_calls: check.never_calls.0,
        max_steps: check.max_steps,
        max_tokens: check.max_tokens,
        max_cost_usd: check.max_cost_usd,
        max_divergences: check.max_divergences.unwrap_or(0),
    };
    checks.validate()?;
    let repeat = Repeats::count(raw.repeat.map(|count| Some(count.into())))?;
    let pass_rate = Repeats::rate(raw.pass_rate.map(Some))?;
    Ok(Case {
        name: raw.name.unwrap_or_else(|| format!("case {number}")),
        goal: raw.goal,
        input: raw.input,
        files: raw.files,
        approve,
        answers: raw.answers.0,
        recording,
        repeat: repeat.or(usual.repeat).unwrap_or(1),
        pass_rate: pass_rate.or(usual.pass_rate).unwrap_or(1.0),
        checks,
    })
}

fn known(test_dir: &str, table: &toml::Table, known: &[&str]) -> Result<(), String> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let hint = units::nearest::hint(key, known.iter().copied());
    Err(format!("{test_dir} has no key `{key}`; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_with_its_checks() {
        let text = "agent = \"a.toml\"\n[[case]]\ngoal = \"sum\"\ninput = { customer = \"Acme\" }\n\
                    check = { contains = \"42\", calls = [\"calculator\"], json = { \"/n\" = 42 }, max_steps = 4 }\n\
                    [[case]]\nname = \"old\"\nrecording = \"old.jsonl\"\n";
        let file = parse(text, PathBuf::from("evals")).unwrap();
        assert_eq!(file.agent.as_deref(), Some("a.toml"));
        let [one, two] = file.cases.as_slice() else {
            panic!("{file:?}")
        };
        assert_eq!((one.name.as_str(), two.name.as_str()), ("case 1", "old"));
        assert_eq!(one.checks.contains, ["42"]);
        assert_eq!(one.input["customer"], "Acme");
        assert!(
            matches!(&two.recording, Some(Source::File(path)) if path == Path::new("evals/old.jsonl"))
        );
    }

    #[test]
    fn cases_run_as_often_as_they_or_the_file_say() {
        let text = "judge = \"openai/gpt-5\"\nrepeat = 5\npass_rate = 0.8\n[[case]]\ngoal = \"a\"\n\
                    [[case]]\ngoal = \"b\"\nrepeat = 2\npass_rate = 1\ncheck = { judge = \"is short\", equals = 42 }\n";
        let file = parse(text, PathBuf::new()).unwrap();
        let [one, two] = file.cases.as_slice() else {
            panic!("{file:?}")
        };
        assert_eq!((one.repeat, one.pass_rate), (5, 0.8));
        assert_eq!((two.repeat, two.pass_rate), (2, 1.0));
        assert_eq!(file.judge.as_deref(), Some("openai/gpt-5"));
        assert_eq!(two.checks.judge, ["is short"]);
        assert_eq!(two.checks.equals, Some(42.into()));
    }

    /// cli/C3: a `never_calls` of a misspelt name always passed.
    #[test]
    fn a_check_of_a_tool_that_there_is_not_is_named() {
        let tools = ["spawn_agent", "write_file"].map(str::to_owned);
        let unknown = |check: &str| {
            let text = format!("[[case]]\ngoal = \"x\"\n{check}");
            parse(&text, PathBuf::new()).unwrap().unknown_tool(&tools)
        };
        for (check, says) in [
            (
                "check = { never_calls = \"spwn_agent\" }",
                "case `case 1`: `never_calls`: no tool is named `spwn_agent`; did you mean `spawn_agent`?",
            ),
            (
                "check = { calls = [\"write_file\", \"writefile\"] }",
                "did you mean `write_file`?",
            ),
            (
                "check = { never_calls = \"write_*\" }",
                "no tool is named `write_*`",
            ),
            (
                "approve = \"wirte_*\"",
                "`approve`: no tool is named `wirte_*`",
            ),
        ] {
            let said = unknown(check).unwrap();
            assert!(said.contains(says), "{check}: {said}");
        }
        let known = "approve = \"write_*\"\ncheck = { never_calls = \"spawn_agent\" }";
        assert_eq!(unknown(known), None);
    }

    #[test]
    fn mistakes_name_their_case() {
        for (text, says) in [
            ("", "has no cases"),
            (
                "agnt = \"a\"\n[[case]]\ngoal = \"x\"",
                "did you mean `agent`?",
            ),
            (
                "[[case]]\ngaol = \"x\"",
                "case 1: it has no key `gaol`; did you mean `goal`?",
            ),
            ("[[case]]\ncheck = {}", "has no `goal`"),
            (
                "[[case]]\ngoal = \"x\"\ncheck = { contain = \"y\" }",
                "did you mean `contains`?",
            ),
            (
                "[[case]]\ngoal = \"x\"\ncheck = { regex = \"(\" }",
                "`regex`",
            ),
            (
                "[[case]]\ngoal = \"x\"\ncheck = { schema = { type = 5 } }",
                "`schema`",
            ),
            (
                "[[case]]\ngoal = \"x\"\ncheck = { json = { n = 1 } }",
                "must begin with `/`",
            ),
            ("repeat = 0\n[[case]]\ngoal = \"x\"", "1 to 100"),
            ("repeat = \"2\"\n[[case]]\ngoal = \"x\"", "1 to 100"),
            ("[[case]]\ngoal = \"x\"\nrepeat = 101", "1 to 100"),
            ("[[case]]\ngoal = \"x\"\npass_rate = 0", "above 0"),
            ("pass_rate = 80\n[[case]]\ngoal = \"x\"", "above 0"),
            (
                "[[case]]\ngoal = \"x\"\ncheck = { judge = [\"\"] }",
                "`judge`",
            ),
            ("[[case]]\ntask = \"t\"\nrecording = \"r\"", "leave out one"),
            ("[[case]]\ngoal = \"x\"\napprove = \"a b\"", "`approve`"),
            (
                "[[case]]\nname = \"a\"\ngoal = \"x\"\n[[case]]\nname = \"a\"\ngoal = \"y\"",
                "two cases",
            ),
        ] {
            let said = parse(text, PathBuf::new()).unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
