//! The cost of `true` in the sandbox, beside `bwrap --unshare-all`, in one run.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use agentkit_sandbox::{Call, Ended, Options, Sandbox};
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
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    while own.len() < load.calls {
        for _ in 0..TURN {
            let begun = Instant::now();
            let outcome = sandbox.run(Call::new(["true"])).await?;
            own.push(begun.elapsed().as_secs_f64() * 1e3);
            if outcome.ended != Ended::Exited(0) {
                bail!("`true` ended with {:?}", outcome.ended);
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
        "what": "`true` in the sandbox, one call after another",
        "tier": report.to_string(),
        "start_ms": crate::figures::round(start_ms),
        "calls": own.len(),
        "call_ms": percentiles(&mut own),
        "bwrap_unshare_all_ms": has_bwrap.then(|| percentiles(&mut peer)),
    });
    println!("{line}");
    Ok(())
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
