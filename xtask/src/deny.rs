//! Licences, banned crates and sources, by cargo-deny and `deny.toml`.

use std::{env, fs, path::PathBuf};

use crate::cmd::{self, Workspace};

const VERSION: &str = "0.20.2";

/// Runs cargo-deny, building it once into the target folder where it is not installed.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let program = program(workspace)?;
    let check = |args: &[&str]| {
        let mut command = workspace.command(&program);
        command
            .args(["--workspace", "--all-features", "--locked"])
            .args(args);
        command
    };
    cmd::run(&mut check(&[
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))?;
    // Known vulnerabilities are a database on the network; without it nothing can be said.
    if cmd::answers(&mut check(&["fetch", "db"])) {
        cmd::run(&mut check(&[
            "check",
            "--hide-inclusion-graph",
            "advisories",
        ]))
    } else {
        println!("advisories SKIPPED: their database cannot be fetched from here");
        Ok(())
    }
}

fn program(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let on_path = PathBuf::from("cargo-deny");
    if cmd::answers(workspace.command(&on_path).arg("--version")) {
        return Ok(on_path);
    }
    let tools = workspace.target.join("tools");
    let built = tools
        .join("bin")
        .join(format!("cargo-deny{}", env::consts::EXE_SUFFIX));
    if !built.is_file() {
        println!("cargo-deny is not installed: building {VERSION} once, about three minutes");
        let scratch = tools.join("build");
        let mut install = workspace.cargo(&["install", "--quiet", "--locked", "cargo-deny"]);
        install
            .args(["--version", VERSION, "--no-track", "--root"])
            .arg(&tools);
        install.arg("--target-dir").arg(&scratch);
        cmd::run(&mut install)?;
        fs::remove_dir_all(scratch)?;
    }
    Ok(built)
}
