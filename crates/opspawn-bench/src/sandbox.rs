//! The cost of `true` and of a module of WebAssembly in the sandbox, beside `bwrap --unshare-all`, in one run.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use agentkit::tool::digest_hex;
use agentkit_sandbox::{
    Call, Ended, Grant, Options, Sandbox,
    wasm::{self, RunRequest},
};
use anyhow::{Result, bail};
use serde_json::json;

use crate::{cli::Calls, figures::percentiles, server::Binary};

/// Calls of each side between two changes of sides.
const TURN: usize = 100;
/// Arguments by which bubblewrap shows a program the same folders.
const BWRAP: &[&str] = &[
    "--unshare-all",
    "--die-with-parent",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "true",
];

/// A module that ends at once.
const MODULE: &str = "(module (func (export \"_start\")) (memory (export \"memory\") 1))";
/// Where the module's call sees its compiled code.
const CODE_FOLDER: &str = "/run/module";
/// Memory for the runtime, as tools have it beside their own.
const RUNTIME_BYTES: u64 = 256 << 20;

/// Runs `true` so often on each side. The helper process is the binary that is measured.
pub(crate) async fn sandbox(binary: &Binary, load: &Calls) -> Result<()> {
    let sandbox = Sandbox::new(Options {
        program: std::path::absolute(binary.path())?,
        ..Options::default()
    });
    let begun = Instant::now();
    let report = sandbox.start().await?;
    let start_ms = begun.elapsed().as_secs_f64() * 1e3;
    let has_bwrap = bubblewrap().is_ok();
    let folder = tempfile::tempdir()?;
    let module = module(&sandbox, &folder.path().canonicalize()?).await?;
    let (mut own, mut peer, mut modules) = (Vec::new(), Vec::new(), Vec::new());
    while own.len() < load.calls {
        for _ in 0..TURN {
            let begun = Instant::now();
            let outcome = sandbox.run(Call::new(["true"])).await?;
            own.push(begun.elapsed().as_secs_f64() * 1e3);
            if outcome.ended != Ended::Exited(0) {
                bail!("`true` ended with {:?}", outcome.ended);
            }
        }
        for call in module.iter().cycle().take(module.iter().len() * TURN) {
            let call = call.clone();
            let begun = Instant::now();
            let outcome = sandbox.run(call).await?;
            modules.push(begun.elapsed().as_secs_f64() * 1e3);
            if outcome.ended != Ended::Exited(0) {
                bail!("the module ended with {:?}", outcome.ended);
            }
        }
        for _ in 0..if has_bwrap { TURN } else { 0 } {
            let begun = Instant::now();
            bubblewrap()?;
            peer.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    let line = json!({
        "bench": "sandbox",
        "what": "`true`, and a module that is compiled already, in the sandbox, one call after another",
        "tier": report.to_string(),
        "start_ms": crate::figures::round(start_ms),
        "calls": own.len(),
        "call_ms": percentiles(&mut own),
        "wasm_call_ms": module.is_some().then(|| percentiles(&mut modules)),
        "bwrap_unshare_all_ms": has_bwrap.then(|| percentiles(&mut peer)),
    });
    println!("{line}");
    Ok(())
}

/// The call of a compiled module; `None` for a binary without the runtime.
async fn module(sandbox: &Sandbox, folder: &Path) -> Result<Option<Call>> {
    let mut compile = Call::new(wasm::compile_arguments(false));
    compile.input = MODULE.into();
    compile.limits.memory = 1 << 30;
    let compiled = sandbox.run(compile).await?;
    if compiled.ended != Ended::Exited(0) {
        return Ok(None);
    }
    std::fs::write(folder.join("module.cwasm"), &compiled.output)?;
    let mut call = Call::new(["true"]);
    let request = RunRequest {
        code: Path::new(CODE_FOLDER).join("module.cwasm"),
        digest: digest_hex(&compiled.output),
        memory: 64 << 20,
        fuel: None,
        time_ms: 60_000,
        folders: Vec::new(),
        network: false,
    };
    call.arguments = request.arguments();
    call.limits.memory += RUNTIME_BYTES;
    call.grants.push(Grant {
        source: folder.to_owned(),
        target: CODE_FOLDER.into(),
        writable: false,
    });
    Ok(Some(call))
}

fn bubblewrap() -> Result<()> {
    let status = Command::new("bwrap")
        .args(BWRAP)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("bwrap ended with {status}");
    }
    Ok(())
}
