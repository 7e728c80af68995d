//! The files of `opspawn agent apply`: definitions, those that others start before those others.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use agentkit::{
    Definition,
    definition::{self, Format},
};
use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    exit::{self, Exit},
    input,
    output::status,
};

/// The largest file of a definition.
const MAX_BYTES: u64 = 4 << 20;

/// A definition and where it was read.
pub(in crate::commands) struct DefinitionEntry {
    /// The agent's name.
    pub(super) name: String,
    /// The definition.
    pub(in crate::commands) definition: Definition,
    /// What was made of the file where it does not say so itself.
    pub(super) notes: Vec<String>,
    path: PathBuf,
}

impl DefinitionEntry {
    /// The body that stores it.
    pub(super) fn body(&self) -> Value {
        json!({"definition": self.json()})
    }

    /// What the server shows of it once it is stored.
    pub(super) fn as_new(&self) -> Value {
        json!({"digest": self.definition.digest(), "definition": self.json()})
    }

    /// An error of the server about it.
    pub(super) fn failed(&self, error: &anyhow::Error) -> anyhow::Error {
        exit::about(&self.path.display().to_string(), error)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.definition.canonical()).unwrap_or_default()
    }
}

/// Reads a file, a folder of them, or standard input for `-`. What the tools and models of the server
/// make of a definition is the server's to say. Of a folder, every file that is wrong is named.
pub(in crate::commands) fn read(path: &Path) -> Result<Vec<DefinitionEntry>> {
    let cannot = |path: &Path, error: std::io::Error| {
        usage(format!("cannot read {}: {error}", path.display()))
    };
    if path.to_str() == Some("-") {
        let text = input::stdin(MAX_BYTES).map_err(|error| cannot(path, error))?;
        return Ok(vec![
            parse(path, &text, Format::guess(&text)).map_err(usage)?,
        ]);
    }
    if !path.is_dir() {
        let text = input::file(path, MAX_BYTES).map_err(|error| cannot(path, error))?;
        let format = Format::of(path).unwrap_or_else(|| Format::guess(&text));
        return Ok(vec![parse(path, &text, format).map_err(usage)?]);
    }
    let mut files: Vec<(PathBuf, Format)> = std::fs::read_dir(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| cannot(path, error))?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|file| file.is_file())
        .filter_map(|file| Format::of(&file).map(|format| (file, format)))
        .collect();
    files.sort_by(|one, two| one.0.cmp(&two.0));
    let mut entries: BTreeMap<String, DefinitionEntry> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (file, format) in files {
        let read = match input::file(&file, MAX_BYTES) {
            Ok(text) if is_about_the_folder(&file, &text, format) => {
                status!("note: {} is left out: it is no agent", file.display());
                continue;
            }
            Ok(text) => parse(&file, &text, format),
            Err(error) => Err(format!("cannot read {}: {error}", file.display())),
        };
        match read {
            Ok(entry) => match entries.get(&entry.name) {
                Some(other) => wrong.push(format!(
                    "{} and {} both define the agent `{}`; rename one",
                    other.path.display(),
                    file.display(),
                    entry.name
                )),
                None => drop(entries.insert(entry.name.clone(), entry)),
            },
            Err(message) => wrong.push(message),
        }
    }
    if !wrong.is_empty() {
        return Err(usage(wrong.join("\n")));
    }
    if entries.is_empty() {
        return Err(usage(format!(
            "{} has no definitions of agents: files `.toml`, `.md`, `.yaml` or `.json`",
            path.display()
        )));
    }
    ordered(entries).map_err(|circle| {
        usage(format!(
            "{}: agents would start each other in a circle: {}; take one out of another's `agents`",
            path.display(),
            circle.join(" -> ")
        ))
    })
}

fn usage(message: String) -> anyhow::Error {
    exit::error(Exit::Usage, message)
}

/// Whether a file of a folder is text about it, such as its `README.md`.
fn is_about_the_folder(file: &Path, text: &str, format: Format) -> bool {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let has_settings = ["---", "+++", "```"]
        .iter()
        .any(|fence| text.starts_with(fence));
    let stem = file.file_stem().and_then(|stem| stem.to_str());
    let is_readme = stem.is_some_and(|stem| stem.eq_ignore_ascii_case("readme"));
    let is_agent = has_settings || stem.is_some_and(definition::is_agent_file);
    format == Format::Markdown && (is_readme || !is_agent)
}

fn parse(path: &Path, text: &str, format: Format) -> Result<DefinitionEntry, String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.filter(|stem| *stem != "-");
    let parsed = Definition::parse_file(text, format, stem)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(DefinitionEntry {
        name: parsed.definition.name.clone(),
        definition: parsed.definition,
        notes: parsed.notes,
        path: path.to_path_buf(),
    })
}

/// Those that others start first; or the circle that they go in.
fn ordered(
    mut entries: BTreeMap<String, DefinitionEntry>,
) -> Result<Vec<DefinitionEntry>, Vec<String>> {
    let mut order = Vec::with_capacity(entries.len());
    while !entries.is_empty() {
        let blocker = |entry: &DefinitionEntry| {
            let mut agents = entry.definition.agents.iter();
            agents.find(|agent| entries.contains_key(*agent)).cloned()
        };
        let free = entries.values().find(|entry| blocker(entry).is_none());
        let Some(name) = free.map(|entry| entry.name.clone()) else {
            return Err(circle(&entries));
        };
        order.extend(entries.remove(&name));
    }
    Ok(order)
}

/// Each of the wishes starts another of them: whoever follows goes in a circle.
fn circle(entries: &BTreeMap<String, DefinitionEntry>) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    let mut at = entries.keys().next().cloned();
    while let Some(name) = at {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            path.drain(..start);
            path.push(name);
            return path;
        }
        let agents = entries
            .get(&name)
            .map_or(&[][..], |entry| &entry.definition.agents);
        at = agents
            .iter()
            .find(|agent| entries.contains_key(*agent))
            .cloned();
        path.push(name);
    }
    path
}

/// Whether it starts agents that only the same files define.
pub(super) fn starts_new(
    entry: &DefinitionEntry,
    all: &[DefinitionEntry],
    known: impl Fn(&str) -> bool,
) -> bool {
    entry
        .definition
        .agents
        .iter()
        .any(|agent| !known(agent) && all.iter().any(|other| other.name == *agent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> Result<Vec<DefinitionEntry>> {
        let dir = tempfile::tempdir()?;
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text)?;
        }
        read(dir.path())
    }

    #[test]
    fn a_folder_is_read_in_the_order_that_its_agents_need() {
        let entries = folder(&[
            ("a.toml", "name = \"a\"\nagents = [\"b\", \"elsewhere\"]"),
            ("b.md", "---\nname: b\nagents: [c]\n---\nBe brief."),
            ("c.toml", "name = \"c\""),
            ("notes.txt", "not one"),
        ])
        .unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["c", "b", "a"]);
        assert_eq!(entries[1].definition.instructions, "Be brief.");
        assert!(starts_new(&entries[1], &entries, |_| false));
        assert!(!starts_new(&entries[1], &entries, |name| name == "c"));
    }

    #[test]
    fn mistakes_name_the_file_and_the_circle() {
        let said = |files: &[(&str, &str)]| folder(files).err().unwrap().to_string();
        let circle = said(&[
            ("a.toml", "name = \"a\"\nagents = [\"b\"]"),
            ("b.toml", "name = \"b\"\nagents = [\"c\"]"),
            ("c.toml", "name = \"c\"\nagents = [\"b\"]"),
        ]);
        assert!(circle.contains("in a circle: b -> c -> b"), "{circle}");
        let twice = said(&[("a.toml", "name = \"a\""), ("b.toml", "name = \"a\"")]);
        assert!(twice.contains("both define the agent `a`"), "{twice}");
        let typo = said(&[("a.toml", "name = \"a\"\ntool = []")]);
        assert!(
            typo.contains("a.toml: there is no key `tool`; did you mean `tools`?"),
            "{typo}"
        );
        assert!(said(&[]).contains("has no definitions"));
        // tools/T14: one wrong file of many was told a run.
        let both = said(&[
            ("a.toml", "name = \"a\"\ntool = []"),
            ("b.yaml", "name: b\nplanner: raect\n"),
            ("c.json", "{"),
            ("d.md", "---\nname: d\nplaner: react\n---\nx"),
        ]);
        for file in ["a.toml: ", "b.yaml: ", "c.json: ", "d.md: "] {
            assert!(both.contains(file), "{file}: {both}");
        }
    }

    /// tools/T14: definitions in YAML were passed over in silence, JSON was read as TOML, a README stopped
    /// the folder, and agents of other tools were refused.
    #[test]
    fn every_format_is_read_and_agents_of_other_tools_are_mapped() {
        let entries = folder(&[
            ("README.md", "# Agents\n\nThese are ours."),
            ("notes.md", "Not an agent either."),
            ("one.yaml", "name: one\nlimits:\n  max_steps: 3\n"),
            ("two.yml", "name: two\n"),
            ("three.json", "{\"name\": \"three\", \"tools\": []}"),
            (
                "Code Reviewer.md",
                "---\ndescription: Use it: after a change. Say \"go\"\ntools: Read, Bash\nmodel: opus\n---\n\n\
                 Use `${{ secrets.KEY }}`.",
            ),
            (
                "helper.agent.md",
                "---\nname: Our Helper\ntools: ['search', 'github/*']\nhandoffs:\n  - label: x\n---\nHelp.",
            ),
            ("Loop Breaker.agent.md", "# Loop Breaker\n\n> **Tools:** `read`\n\nBreak {{ loops }}."),
        ])
        .unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "code-reviewer",
                "loop-breaker",
                "one",
                "our-helper",
                "three",
                "two"
            ]
        );
        // A file that is an agent by its name may have no settings.
        let bare = &entries[1];
        assert!(bare.definition.instructions.starts_with("# Loop Breaker"));
        assert!(!bare.definition.is_template());
        let notes = bare.notes.concat();
        assert!(notes.contains("settings: none"), "{notes}");
        let reviewer = &entries[0];
        assert_eq!(
            reviewer.definition.instructions,
            "Use `${{ secrets.KEY }}`."
        );
        assert!(!reviewer.definition.is_template());
        assert_eq!(
            reviewer.definition.description,
            "Use it: after a change. Say \"go\""
        );
        let notes = reviewer.notes.join("\n");
        for said in [
            "name: `code-reviewer`",
            "read line by line",
            "tools: Read became read_file",
            "tools Bash",
            "model opus",
            "text as it is",
        ] {
            assert!(notes.contains(said), "{said}: {notes}");
        }
        assert_eq!(entries[2].definition.limits.max_steps, Some(3));
        assert!(entries[2].notes.is_empty());
    }
}
