//! The examples that come with the program.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::exit::{self, Exit};

/// An example: a goal, instructions, files, and a script for when there is no LLM.
#[derive(Debug)]
pub(crate) struct Example {
    /// The agent.
    pub(crate) agent: AgentFile,
    /// The script.
    pub(crate) script: &'static str,
    /// The files of its workspace, by path.
    pub(crate) files: BTreeMap<&'static str, &'static str>,
}

/// `agent.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentFile {
    /// What it is to do.
    pub(crate) goal: String,
    /// System instructions.
    pub(crate) instructions: String,
}

/// The names.
const NAMES: [&str; 1] = ["report"];

/// The example of a name.
pub(crate) fn find(name: &str) -> Result<Example> {
    match name {
        "report" => Ok(Example {
            agent: toml::from_str(include_str!("../../../examples/report/agent.toml"))
                .context("the example's agent.toml is not valid")?,
            script: include_str!("../../../examples/report/script.toml"),
            files: BTreeMap::from([
                (
                    "data/sales-q1.csv",
                    include_str!("../../../examples/report/data/sales-q1.csv"),
                ),
                (
                    "data/sales-q2.csv",
                    include_str!("../../../examples/report/data/sales-q2.csv"),
                ),
                (
                    "data/notes.txt",
                    include_str!("../../../examples/report/data/notes.txt"),
                ),
            ]),
        }),
        _ => {
            let hint = units::nearest::hint(name, NAMES);
            Err(exit::error(
                Exit::Usage,
                format!("there is no example `{name}`; {hint}"),
            ))
        }
    }
}
