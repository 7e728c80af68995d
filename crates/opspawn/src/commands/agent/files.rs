//! The files of `opspawn agent apply`: definitions, those that others start before those others.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};

use agentkit::{Definition, definition::Format};
use anyhow::Result;
use serde_json::{Value, json};

use crate::exit::{self, Exit};

/// A definition and where it was read.
pub(in crate::commands) struct Wish {
    /// The agent's name.
    pub(super) name: String,
    /// The definition.
    pub(in crate::commands) definition: Definition,
    path: PathBuf,
}

impl Wish {
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
/// make of a definition is the server's to say.
pub(in crate::commands) fn read(path: &Path) -> Result<Vec<Wish>> {
    let usage = |message: String| exit::error(Exit::Usage, message);
    let cannot = |path: &Path, error: std::io::Error| {
        usage(format!("cannot read {}: {error}", path.display()))
    };
    if path.to_str() == Some("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| cannot(path, error))?;
        return Ok(vec![parse(path, &text, Format::guess(&text))?]);
    }
    if !path.is_dir() {
        let text = std::fs::read_to_string(path).map_err(|error| cannot(path, error))?;
        let format = Format::of(path).unwrap_or_else(|| Format::guess(&text));
        return Ok(vec![parse(path, &text, format)?]);
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
    let mut wishes: BTreeMap<String, Wish> = BTreeMap::new();
    for (file, format) in files {
        let text = std::fs::read_to_string(&file).map_err(|error| cannot(&file, error))?;
        let wish = parse(&file, &text, format)?;
        if let Some(other) = wishes.get(&wish.name) {
            return Err(usage(format!(
                "{} and {} both define the agent `{}`; rename one",
                other.path.display(),
                file.display(),
                wish.name
            )));
        }
        wishes.insert(wish.name.clone(), wish);
    }
    if wishes.is_empty() {
        return Err(usage(format!(
            "{} has no definitions of agents: files `.toml` or `.md`",
            path.display()
        )));
    }
    ordered(wishes).map_err(|circle| {
        usage(format!(
            "{}: agents would start each other in a circle: {}; take one out of another's `agents`",
            path.display(),
            circle.join(" -> ")
        ))
    })
}

fn parse(path: &Path, text: &str, format: Format) -> Result<Wish> {
    let definition = Definition::parse(text, format)
        .map_err(|error| exit::error(Exit::Usage, format!("{}: {error}", path.display())))?;
    Ok(Wish {
        name: definition.name.clone(),
        definition,
        path: path.to_path_buf(),
    })
}

/// Those that others start first; or the circle that they go in.
fn ordered(mut wishes: BTreeMap<String, Wish>) -> Result<Vec<Wish>, Vec<String>> {
    let mut order = Vec::with_capacity(wishes.len());
    while !wishes.is_empty() {
        let blocker = |wish: &Wish| {
            let mut agents = wish.definition.agents.iter();
            agents.find(|agent| wishes.contains_key(*agent)).cloned()
        };
        let free = wishes.values().find(|wish| blocker(wish).is_none());
        let Some(name) = free.map(|wish| wish.name.clone()) else {
            return Err(circle(&wishes));
        };
        order.extend(wishes.remove(&name));
    }
    Ok(order)
}

/// Each of the wishes starts another of them: whoever follows goes in a circle.
fn circle(wishes: &BTreeMap<String, Wish>) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    let mut at = wishes.keys().next().cloned();
    while let Some(name) = at {
        if let Some(start) = path.iter().position(|seen| *seen == name) {
            path.drain(..start);
            path.push(name);
            return path;
        }
        let agents = wishes
            .get(&name)
            .map_or(&[][..], |wish| &wish.definition.agents);
        at = agents
            .iter()
            .find(|agent| wishes.contains_key(*agent))
            .cloned();
        path.push(name);
    }
    path
}

/// Whether it starts agents that only the same files define.
pub(super) fn starts_new(wish: &Wish, all: &[Wish], known: impl Fn(&str) -> bool) -> bool {
    wish.definition
        .agents
        .iter()
        .any(|agent| !known(agent) && all.iter().any(|other| other.name == *agent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> Result<Vec<Wish>> {
        let dir = tempfile::tempdir()?;
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text)?;
        }
        read(dir.path())
    }

    #[test]
    fn a_folder_is_read_in_the_order_that_its_agents_need() {
        let wishes = folder(&[
            ("a.toml", "name = \"a\"\nagents = [\"b\", \"elsewhere\"]"),
            ("b.md", "---\nname: b\nagents: [c]\n---\nBe brief."),
            ("c.toml", "name = \"c\""),
            ("notes.txt", "not one"),
        ])
        .unwrap();
        let names: Vec<_> = wishes.iter().map(|wish| wish.name.as_str()).collect();
        assert_eq!(names, ["c", "b", "a"]);
        assert_eq!(wishes[1].definition.instructions, "Be brief.");
        assert!(starts_new(&wishes[1], &wishes, |_| false));
        assert!(!starts_new(&wishes[1], &wishes, |name| name == "c"));
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
    }
}
