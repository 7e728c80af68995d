//! `opspawn init`: files to begin with. What is there already is left alone.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    config::{Config, Kind, SETTINGS, Setting},
    exit::Exit,
    output::{self, show},
};

const AGENT: &str = "\
---
name: assistant
description: Answers questions about the files that it is given
tools: [list_files, read_file, search_files, calculator]
limits:
  max_steps: 20
  timeout: 5m
---

You answer questions about the files in your folder. Look into them before you answer, and name the
file that an answer comes from. Today is {{ date }}.
";

const EVAL: &str = "\
# opspawn eval evals/assistant.toml
agent = \"../agents/assistant.md\"

[[case]]
name = \"finds a number in a file\"
goal = \"What is the total of order 7?\"
files = { \"orders.csv\" = \"id,customer,total\\n7,Acme,41.50\\n8,Beta,12.00\\n\" }
check = { contains = \"41.50\", calls = \"read_file\", max_steps = 8 }
";

/// Writes a configuration file into the data folder, and an agent and its evaluation beside it.
pub(super) fn init(config: &Config, folder: &Path, json: bool) -> Result<Exit> {
    let settings = config.data_dir().join("opspawn.toml");
    let agents = folder.join("agents");
    let files = [
        (settings, settings_file()),
        (agents.join("assistant.md"), AGENT.to_owned()),
        (folder.join("evals").join("assistant.toml"), EVAL.to_owned()),
    ];
    let (mut written, mut kept) = (Vec::new(), Vec::new());
    for (path, text) in files {
        match write(&path, &text)? {
            true => written.push(path),
            false => kept.push(path),
        }
    }
    if json {
        output::json(&json!({"written": written, "kept": kept}));
        return Ok(Exit::Ok);
    }
    let tell = |what: &str, paths: &[PathBuf]| {
        for path in paths {
            show!("{what:<8}  {}", path.display());
        }
    };
    tell("wrote", &written);
    tell("is there", &kept);
    show!();
    show!("Go on with:");
    // The folder of the command line is no setting that the next command has.
    let data = match config.source("data") {
        Some("flag") => format!(
            " --data {}",
            output::shell_word(&config.data_dir().display().to_string())
        ),
        Some(_) | None => String::new(),
    };
    show!("  opspawn dev{data}");
    show!(
        "  opspawn agent apply{data} -f {}",
        output::shell_word(&agents.display().to_string())
    );
    show!("  opspawn run{data} --agent assistant --file FILE \"What does FILE say?\"");
    Ok(Exit::Ok)
}

/// Whether the file was written; not if it is there.
fn write(path: &Path, text: &str) -> Result<bool> {
    let failed = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(failed)?;
    }
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path);
    match file {
        Ok(mut file) => file.write_all(text.as_bytes()).with_context(failed)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error).with_context(failed),
    }
    Ok(true)
}

/// Every setting with its default, commented out, in tables as the documentation writes them: a table that is added further
/// down would say a key with dots twice.
fn settings_file() -> String {
    let mut text =
        "# Settings; `opspawn config` shows them with their variables. Take the `#` away before \
                    those that\n# you change, and before the `[table]` above them.\n"
            .to_owned();
    // The folder is where this file lies.
    let settings = || SETTINGS.iter().filter(|setting| setting.key != "data");
    let split = |key: &'static str| key.rsplit_once('.').unwrap_or(("", key));
    let mut tables: Vec<&str> = Vec::new();
    for setting in settings() {
        let (table, _) = split(setting.key);
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    // Keys without a table stand above every table.
    tables.sort_by_key(|table| !table.is_empty());
    for table in tables {
        if !table.is_empty() {
            text.push_str(&format!("\n#[{table}]\n"));
        }
        for setting in settings() {
            let (of, name) = split(setting.key);
            if of == table {
                let value = example(setting);
                text.push_str(&format!("\n# {}\n#{name} = {value}\n", setting.doc));
            }
        }
    }
    text
}

/// The default of a setting, else a value that it may have.
fn example(setting: &Setting) -> String {
    let default = setting.default.unwrap_or_default();
    let bare = matches!(
        setting.kind,
        Kind::Number | Kind::Count | Kind::Percent | Kind::Switch | Kind::Temperature
    );
    match (bare && !default.is_empty(), setting.kind) {
        (true, _) => default.to_owned(),
        (false, Kind::List) => "[]".to_owned(),
        // An example, as nothing is no value of these.
        (false, Kind::Choice(known)) if default.is_empty() => {
            format!("{:?}", known.first().copied().unwrap_or_default())
        }
        (false, Kind::Number | Kind::Count | Kind::Percent | Kind::Temperature) => "1".to_owned(),
        (false, Kind::Switch) => "false".to_owned(),
        (false, Kind::Usd) if default.is_empty() => "\"1.00\"".to_owned(),
        (false, Kind::Duration | Kind::DurationFrom(_)) if default.is_empty() => {
            "\"1m\"".to_owned()
        }
        (false, Kind::Loopback) if default.is_empty() => "\"127.0.0.1:8001\"".to_owned(),
        (false, _) => format!("{default:?}"),
    }
}

#[cfg(test)]
mod tests {
    use agentkit::{Definition, definition::Format};

    use super::*;

    #[test]
    fn the_files_can_be_used_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let flags = [("data", data.display().to_string())];
        let config = Config::load(&flags, None).unwrap();
        assert_eq!(init(&config, folder.path(), true).unwrap(), Exit::Ok);
        let written = data.join("opspawn.toml");
        let whole = fs::read_to_string(&written).unwrap();
        Config::load(&flags, None).unwrap();

        // Without the `#`, the settings that have a default say what is the case anyway.
        let lines = whole.lines().filter_map(|line| line.strip_prefix('#'));
        let lines: Vec<&str> = lines.filter(|line| !line.starts_with(' ')).collect();
        let mut table = "";
        let mut set = Vec::new();
        for line in &lines {
            if line.starts_with('[') {
                table = line;
                set.push(*line);
                continue;
            }
            fs::write(&written, format!("{table}\n{line}")).unwrap();
            Config::load(&flags, None).unwrap_or_else(|error| panic!("{line}: {error:#}"));
            let name = line.split(" = ").next().unwrap_or_default();
            let key = match table.trim_matches(['[', ']']) {
                "" => name.to_owned(),
                table => format!("{table}.{name}"),
            };
            let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
            if setting.default.is_some() {
                set.push(line);
            }
        }
        assert!(set.len() > 20, "{set:?}");
        // Tables of other things may follow, as the documentation writes them.
        let more = "[tools.command.x]\ndescription = \"x\"\ncommand = [\"x\"]\n[[tools.http.writes]]\nkeyed = true\nurl = \
                    \"https://x.example/v1\"\n";
        fs::write(&written, format!("{}\n{more}", set.join("\n"))).unwrap();
        let same = Config::load(&flags, None).unwrap();
        for setting in SETTINGS.iter().filter(|setting| setting.key != "data") {
            assert_eq!(
                same.optional(setting.key),
                config.optional(setting.key),
                "{}",
                setting.key
            );
        }

        let agent = fs::read_to_string(folder.path().join("agents/assistant.md")).unwrap();
        let definition = Definition::parse(&agent, Format::Markdown).unwrap();
        assert_eq!(definition.name, "assistant");
        let eval = crate::eval::file::read(&folder.path().join("evals/assistant.toml")).unwrap();
        assert_eq!(eval.cases.len(), 1);

        // A second time, nothing is written.
        fs::write(&written, "log = \"info\"\n").unwrap();
        init(&config, folder.path(), true).unwrap();
        assert_eq!(fs::read_to_string(&written).unwrap(), "log = \"info\"\n");
    }
}
