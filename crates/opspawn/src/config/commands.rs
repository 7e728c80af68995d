//! Tools of one's own: `[tools.command.NAME]` and `[tools.wasm.NAME]` in the file.

use std::collections::BTreeMap;

use agentkit_tools::command::{Base, CommandTool, Definition, Mistake, WasmDefinition};
use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use toml::Spanned;

use super::plainly::plainly;

/// A tool of one's own as a file declares it.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredCommand {
    /// The tool's name.
    pub(crate) name: String,
    /// The declaration.
    pub(crate) definition: Declaration,
    /// The file, and the line that the declaration begins at.
    pub(crate) at: String,
}

/// A declaration.
#[derive(Debug, Clone)]
pub(crate) enum Declaration {
    /// A program.
    Command(Box<Definition>),
    /// A module of WebAssembly.
    Wasm(Box<WasmDefinition>),
}

impl Declaration {
    /// The kind of its table.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Wasm(_) => "wasm",
        }
    }

    /// Description for the model.
    pub(crate) fn description(&self) -> &str {
        match self {
            Self::Command(definition) => &definition.description,
            Self::Wasm(definition) => &definition.description,
        }
    }

    /// What runs.
    pub(crate) fn program(&self) -> String {
        match self {
            Self::Command(definition) => definition.command.join(" "),
            Self::Wasm(definition) => definition.module.display().to_string(),
        }
    }

    /// The tool that is declared.
    ///
    /// # Errors
    /// A folder or a module that cannot be used.
    pub(crate) fn tool(&self, name: &str, base: &Base) -> Result<CommandTool, Mistake> {
        match self {
            Self::Command(definition) => CommandTool::new(name, definition, base),
            Self::Wasm(definition) => CommandTool::of_module(name, definition, base),
        }
    }

    fn check(&self) -> Result<(), Mistake> {
        match self {
            Self::Command(definition) => definition.check(),
            Self::Wasm(definition) => definition.check(),
        }
    }
}

/// The part of a file that declares them.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    tools: Tools,
}

#[derive(Default, Deserialize)]
struct Tools {
    #[serde(default)]
    command: BTreeMap<String, Spanned<Definition>>,
    #[serde(default)]
    wasm: BTreeMap<String, Spanned<WasmDefinition>>,
}

/// The declarations of a file's text. A mistake is told with its line.
pub(super) fn read(text: &str, place: &str) -> Result<Vec<DeclaredCommand>> {
    let file: File = toml::from_str(text).map_err(|error| mistake(text, place, &error))?;
    let commands = file.tools.command.into_iter().map(|(name, found)| {
        let start = found.span().start;
        (
            name,
            start,
            Declaration::Command(Box::new(found.into_inner())),
        )
    });
    let modules = file.tools.wasm.into_iter().map(|(name, found)| {
        let start = found.span().start;
        (name, start, Declaration::Wasm(Box::new(found.into_inner())))
    });
    let mut declared: Vec<DeclaredCommand> = Vec::new();
    for (name, start, definition) in commands.chain(modules) {
        let line = header(text, definition.kind(), &name, start);
        let at = format!("{place}, line {line}");
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if name.is_empty() || name.len() > 58 || !name.chars().all(fits) {
            bail!("{at}: a tool's name is 1 to 58 of a-z, A-Z, 0-9, `_` and `-`, and not `{name}`");
        }
        if let Err(mistake) = definition.check() {
            bail!("{at}: tool `{name}`: {mistake}");
        }
        if let Some(other) = declared.iter().find(|other| other.name == name) {
            bail!("{at}: there is a tool `{name}` already, in {}", other.at);
        }
        declared.push(DeclaredCommand {
            name,
            definition,
            at,
        });
    }
    Ok(declared)
}

/// What the reader of the file says of a mistake, with its line, its table and its key.
pub(super) fn mistake(text: &str, place: &str, error: &toml::de::Error) -> anyhow::Error {
    let line = error.span().map_or(1, |span| line(text, span.start));
    let about = about(text, line);
    anyhow!("{place}, line {line}: {about}{}", plainly(error.message()))
}

/// Kinds of tables that declare something, and the noun for what they declare.
const KINDS: [(&str, &str); 3] = [("command", "tool"), ("wasm", "tool"), ("sql", "database")];

/// The table, and the key of a line, that a mistake is about: `tool `count`, `timeout`: `.
fn about(text: &str, line: usize) -> String {
    let lines: Vec<&str> = text.lines().take(line).map(str::trim).collect();
    let declared = lines.iter().rev().find_map(|line| {
        let table = line.strip_prefix("[tools.")?.split(']').next()?;
        let (kind, name) = table.split_once('.')?;
        let (_, noun) = KINDS.iter().find(|(known, _)| *known == kind)?;
        // The name may be in quotes; tables of the tool follow it.
        let name = match name.strip_prefix(['"', '\'']) {
            Some(quoted) => quoted.split(['"', '\'']).next()?,
            None => name.split('.').next()?,
        };
        Some((noun, name))
    });
    let key = lines.last().and_then(|line| line.split_once('='));
    let key = key.map(|(key, _)| key.trim());
    match (declared, key) {
        (Some((noun, name)), Some(key)) => format!("{noun} `{name}`, `{key}`: "),
        (Some((noun, name)), None) => format!("{noun} `{name}`: "),
        (None, _) => String::new(),
    }
}

/// The line of the header of a table `[tools.KIND.NAME]`; of the beginning of the table without a header.
pub(super) fn header(text: &str, kind: &str, name: &str, otherwise: usize) -> usize {
    let headers = [
        format!("[tools.{kind}.{name}]"),
        format!("[tools.{kind}.\"{name}\"]"),
    ];
    let found = text
        .lines()
        .position(|line| headers.iter().any(|header| line.trim() == header));
    found.map_or_else(|| line(text, otherwise), |index| index + 1)
}

/// The line of an offset.
pub(super) fn line(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read_and_their_lines_are_known() {
        let text = "listen = 'x'\n\n[tools.http]\nallow = []\n\n[tools.command.count]\n\
                    description = 'Counts'\ncommand = ['wc', '{path}']\n\
                    input = { type = 'object', properties = { path = { type = 'string' } } }\n";
        let declared = read(text, "file").unwrap();
        assert_eq!(declared.len(), 1);
        assert_eq!(
            (declared[0].name.as_str(), declared[0].at.as_str()),
            ("count", "file, line 6")
        );
        assert!(read("listen = 'x'", "file").unwrap().is_empty());
    }

    #[test]
    fn a_mistake_names_its_line() {
        for (table, says) in [
            (
                "description = 'x'",
                "line 3: tool `count`: `command` is missing",
            ),
            (
                "description = 'x'\ncommand = ['a']\ncomand = 1",
                "line 6: tool `count`, `comand`: there is no key `comand`; did you mean `command`?",
            ),
            (
                "description = 'x'\ncommand = 'a'",
                "line 5: tool `count`, `command`: it must be a list, and is the text \"a\"",
            ),
            (
                "description = 'x'\ncommand = ['a']\ntimeout = 'soon'",
                "line 6: ",
            ),
            (
                "description = 'x'\ncommand = ['a']\nmemory = 'much'",
                "line 6: tool `count`, `memory`: write a number of bytes",
            ),
            (
                "description = 'x'\ncommand = []",
                "line 3: tool `count`: `command` names no program",
            ),
        ] {
            let text = format!("# first\n\n[tools.command.count]\n{table}\n");
            let error = read(&text, "file").unwrap_err().to_string();
            assert!(error.starts_with("file, line"), "{error}");
            assert!(error.contains(says), "{table}: {error}");
        }
        for (table, says) in [
            (
                "module = 'a.wasm'",
                "line 2: tool `m`: `description` is missing",
            ),
            (
                "description = 'x'\nmodul = 'a.wasm'",
                "line 4: tool `m`, `modul`: there is no key `modul`; did you mean `module`?",
            ),
            (
                "description = 'x'\nmodule = 'a.wasm'\nfuel = 'much'",
                "line 5: tool `m`, `fuel`: it must be a whole number",
            ),
            (
                "description = 'x'\nmodule = 'a.wasm'\ncommand = ['a']",
                "line 5: tool `m`, `command`: there is no key `command`",
            ),
        ] {
            let text = format!("# first\n[tools.wasm.m]\n{table}\n");
            let error = read(&text, "file").unwrap_err().to_string();
            assert!(error.contains(says), "{table}: {error}");
        }
        let error = read(
            "[tools.command.'a b']\ndescription = 'x'\ncommand = ['a']",
            "file",
        );
        assert!(error.unwrap_err().to_string().contains("a tool's name is"));
    }
}
