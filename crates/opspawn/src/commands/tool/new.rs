//! `opspawn tool new`: a program and its declaration, to begin with.

mod skeletons;

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    cli::{Kind, Language},
    config::Config,
    exit::{self, Exit},
    output::{self, show},
};

/// Writes the program and appends the declaration to the configuration file of the data folder.
pub(super) fn new(
    config: &Config,
    name: &str,
    kind: Kind,
    language: Option<Language>,
    json: bool,
) -> Result<Exit> {
    let Some(skeleton) = skeletons::of(kind, language) else {
        let message =
            "a module is begun in its text form, without `--language`, or with `--language rust`";
        return Err(exit::error(Exit::Usage, message));
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let is_option = name.starts_with('-');
    if name.is_empty() || name.len() > 58 || !name.chars().all(fits) || is_option {
        let message = format!(
            "a tool's name is 1 to 58 of a-z, A-Z, 0-9, `_` and `-`, does not begin with `-`, and is not `{name}`"
        );
        return Err(exit::error(Exit::Usage, message));
    }
    let own = crate::tools::configured(config, &agentkit_tools::http::Listeners::default());
    let is_own = own.iter().any(|tool| tool.spec().name == name);
    let mut declared = config.commands().iter();
    if is_own || declared.any(|declared| declared.name == name) {
        let message = format!("there is a tool `{name}` already; choose another name");
        return Err(exit::error(Exit::Failed, message));
    }
    let file = config.file();
    let folder = file.parent().unwrap_or(Path::new("."));
    let tool = folder.join("tools").join(name);
    fs::create_dir_all(&tool).with_context(|| format!("cannot make {}", tool.display()))?;
    let program = tool.join(skeleton.file);
    write(&program, skeleton.text)?;
    append(file, &skeleton.declaration(name))?;
    let build = skeleton.build.map(|(compiler, built)| {
        let (program, built) = (quoted(&program), quoted(&tool.join(built)));
        format!("{compiler} {program} -o {built}")
    });
    if json {
        output::json(&json!({"program": program, "declaration": file, "build": build}));
        return Ok(Exit::Ok);
    }
    show!("wrote     {}", program.display());
    show!("declared  {}", file.display());
    show!();
    show!("Go on with:");
    if let Some(build) = build {
        show!("  {build}");
    }
    let options = options(config);
    match kind {
        Kind::Command => {
            show!("  printf 'one two\\nthree\\n' > example.txt");
            show!(
                "  opspawn{options} tool call {name} '{{\"path\": \"example.txt\"}}' --workspace ."
            );
        }
        Kind::Wasm => show!("  opspawn{options} tool call {name} '{{\"text\": \"hello\"}}'"),
    }
    if ops_store::sqlite::running_server(&config.data_dir()).is_some() {
        show!(
            "  opspawn{options} reload    # the running server takes the tool for runs that have not begun"
        );
    }
    Ok(Exit::Ok)
}

/// The options that this configuration was chosen by, for the next command.
fn options(config: &Config) -> String {
    let mut options = String::new();
    let data = config.data_dir();
    if config.source("data") == Some("flag") {
        options += &format!(" --data {}", quoted(&data));
    }
    if config.file() != data.join("opspawn.toml") {
        options += &format!(" --config {}", quoted(config.file()));
    }
    options
}

/// A path as a word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A new program, which its owner may run.
fn write(path: &Path, text: &str) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o755).open(path);
    file.with_context(failed)?
        .write_all(text.as_bytes())
        .with_context(failed)
}

fn append(path: &Path, text: &str) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut options = fs::OpenOptions::new();
    let file = options.append(true).create(true).open(path);
    file.with_context(failed)?
        .write_all(text.as_bytes())
        .with_context(failed)
}
