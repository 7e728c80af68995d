//! The target of Rust for which tests build a module of WebAssembly.

use std::path::Path;

use crate::{
    cmd::{self, Workspace},
    servers::Missing,
};

const TARGET: &str = "wasm32-wasip1";

/// Adds the target to the toolchain where it is missing and may be installed. Says aloud where it cannot be had: the
/// test that needs it then tries nothing, as there are machines on which no target can be added.
pub(crate) fn target(workspace: &Workspace, missing: Missing) {
    let mut print = workspace.command("rustc");
    print.args(["--print", "target-libdir", "--target", TARGET]);
    let printed = cmd::output(&mut print).unwrap_or_default();
    let folder = String::from_utf8_lossy(&printed).trim().to_owned();
    if Path::new(&folder).is_dir() || missing != Missing::Install {
        return;
    }
    let mut add = workspace.command("rustup");
    add.args(["target", "add", TARGET]);
    if let Err(error) = cmd::run(&mut add) {
        println!("{error:#}: the test that builds a module in Rust will try nothing");
    }
}
