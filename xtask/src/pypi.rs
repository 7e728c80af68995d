//! The Python packages that tests use: the official SDK of MCP, whose servers others write with it, and gRPC.

use std::fs;

use anyhow::Context as _;

use crate::{
    cmd::{self, Workspace},
    servers::{Missing, apt},
};

/// Makes an environment with the pinned packages in the target folder, unless it is there. Says aloud where Python is
/// missing or the packages cannot be had: the tests that need them then skip themselves by name, or fail
/// where the variable `CI` is set.
pub(crate) fn packages(workspace: &Workspace, missing: Missing) -> anyhow::Result<()> {
    let folder = workspace.target.join("testkit").join("pypi");
    let wanted = workspace
        .root
        .join("crates/ops-testkit/pypi/requirements.txt");
    let pinned = fs::read(&wanted).with_context(|| format!("no {}", wanted.display()))?;
    let stamp = folder.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == pinned) {
        return Ok(());
    }
    let make = || {
        let mut create = workspace.command("python3");
        create.args(["-m", "venv", "--clear"]).arg(&folder);
        cmd::run(&mut create)
    };
    let mut made = make();
    if made.is_err() && missing == Missing::Install {
        apt(workspace, &["python3", "python3-venv"])?;
        made = make();
    }
    let installed = made.and_then(|()| {
        let mut pip = workspace.command(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
            .args(["--disable-pip-version-check", "--only-binary", ":all:"])
            .arg("--requirement")
            .arg(&wanted);
        cmd::run(&mut pip)
    });
    match installed {
        Ok(()) => fs::write(stamp, pinned).context("the environment of Python"),
        Err(error) => {
            println!("{error:#}: tests with programs in Python will be skipped");
            Ok(())
        }
    }
}
