//! The npm packages that tests use: a mock of the model providers' wire, MCP servers, and the conformance
//! scenarios of MCP, all of which others wrote.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    cmd::{self, Workspace},
    servers::{Missing, apt},
};

const PINNED: &[&str] = &["package.json", "package-lock.json", ".npmrc"];
const CLI: &str = "node_modules/@copilotkit/aimock/dist/cli.js";

/// Installs the pinned package into the target folder unless it is there, and returns its command
/// line program. `None`, said aloud, where npm is missing or cannot install: the tests that need
/// it then skip themselves by name, or fail where the variable `CI` is set.
pub(crate) fn aimock(workspace: &Workspace, missing: Missing) -> anyhow::Result<Option<PathBuf>> {
    let folder = workspace.target.join("testkit").join("npm");
    let program = folder.join(CLI);
    let from = workspace.root.join("crates/ops-testkit/npm");
    if program.is_file() && installed(&from, &folder)? {
        return Ok(Some(program));
    }
    let has_npm = || cmd::answers(workspace.command("npm").arg("--version"));
    if !has_npm() && missing == Missing::Install {
        apt(workspace, &["nodejs", "npm"])?;
    }
    if !has_npm() {
        println!(
            "npm is not installed: tests against aimock will be skipped; \
             `cargo xtask test --install` installs it"
        );
        return Ok(None);
    }
    let stamp = folder.join("installed.json");
    if stamp.exists() {
        fs::remove_file(&stamp)?;
    }
    fs::create_dir_all(&folder)?;
    for name in PINNED {
        fs::copy(from.join(name), folder.join(name)).with_context(|| format!("copying {name}"))?;
    }
    let mut install = workspace.command("npm");
    install
        .current_dir(&folder)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    if let Err(error) = cmd::run(&mut install) {
        println!("{error:#}: tests against aimock will be skipped");
        return Ok(None);
    }
    fs::copy(from.join("package-lock.json"), stamp)?;
    Ok(program.is_file().then_some(program))
}

/// Whether what is installed is what the lock file asks for.
fn installed(from: &Path, folder: &Path) -> anyhow::Result<bool> {
    let stamp = folder.join("installed.json");
    Ok(stamp.is_file() && fs::read(stamp)? == fs::read(from.join("package-lock.json"))?)
}
