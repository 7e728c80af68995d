//! WebAssembly modules as programs of the sandbox.
//!
//! The host's process never compiles and never runs a module. A call of the sandbox does, with this program at
//! [`PROGRAM`]: the program compiles a module from standard input to machine code on standard output
//! ([`compile_arguments`]), or runs the code of an earlier call ([`RunRequest::arguments`]). A module with a hold on the
//! compiler or the runtime still has the grants and limits of the call alone.
//!
//! The feature `wasm` brings the runtime. Without it [`VERSION`] is `None`, and no call can be made.

#[cfg(all(feature = "wasm", target_os = "linux"))]
mod compile;
#[cfg(all(feature = "wasm", target_os = "linux"))]
mod load;
#[cfg(all(feature = "wasm", target_os = "linux"))]
mod room;
#[cfg(all(feature = "wasm", target_os = "linux"))]
mod run;

use std::{ffi::OsString, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Where sandboxes see this program.
pub const PROGRAM: &str = "/run/opspawn-wasm";

/// Version of the runtime; `None` in a build without it.
#[cfg(all(feature = "wasm", target_os = "linux"))]
pub const VERSION: Option<&str> = Some("wasmtime 48");
/// Version of the runtime; `None` in a build without it.
#[cfg(not(all(feature = "wasm", target_os = "linux")))]
pub const VERSION: Option<&str> = None;

/// Exit codes of [`PROGRAM`]. A module's own codes are below all of them.
pub mod code {
    /// The largest exit code of a module; larger codes of modules count as this code.
    pub const LAST_OF_MODULE: i32 = 199;
    /// The file is not the compiled code of the request: nothing has run.
    pub const STALE: i32 = 201;
    /// The module used up its fuel.
    pub const FUEL: i32 = 202;
    /// The module did not end in time.
    pub const TIME: i32 = 203;
    /// The module ended after a refusal of more memory.
    pub const MEMORY: i32 = 204;
    /// The module trapped.
    pub const TRAP: i32 = 205;
    /// The module cannot be used; standard error says why.
    pub const INVALID: i32 = 206;
    /// The call was not understood.
    pub const USAGE: i32 = 207;
}

/// A folder of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Where the sandbox has the folder.
    pub path: PathBuf,
    /// Name of the folder for the module.
    pub name: String,
    /// Whether the module may write there.
    pub writable: bool,
}

/// How compiled code is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// File of the compiled code, as the sandbox sees it.
    pub code: PathBuf,
    /// SHA-256 of the file, in hex. Other bytes are not loaded.
    pub digest: String,
    /// Bytes of all memories of the module.
    pub memory: u64,
    /// Instructions of the module, about; `None` for code that counts no instructions.
    pub fuel: Option<u64>,
    /// Milliseconds until the module is interrupted.
    pub time_ms: u64,
    /// Folders of the module.
    pub folders: Vec<Folder>,
    /// Whether the module may connect to the proxy of the sandbox.
    pub network: bool,
}

impl RunRequest {
    /// Arguments of a call to run the code.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let request = serde_json::to_string(self).expect("a request has string keys only");
        [PROGRAM, "run", &request].map(OsString::from).into()
    }
}

/// Arguments of a call to compile the module on standard input, with or without counting fuel.
#[must_use]
pub fn compile_arguments(with_fuel: bool) -> Vec<OsString> {
    let fuel = if with_fuel { "fuel" } else { "no-fuel" };
    [PROGRAM, "compile", fuel].map(OsString::from).into()
}

/// The work of [`PROGRAM`]; gives its exit code.
#[cfg(all(feature = "wasm", target_os = "linux"))]
pub(crate) fn main() -> i32 {
    let mut arguments = std::env::args().skip(1);
    let (verb, argument) = (arguments.next(), arguments.next());
    match (verb.as_deref(), argument.as_deref()) {
        (Some("compile"), Some(fuel @ ("fuel" | "no-fuel"))) => compile::main(fuel == "fuel"),
        (Some("run"), Some(request)) => match serde_json::from_str(request) {
            Ok(request) => run::main(&request),
            Err(_) => code::USAGE,
        },
        _ => code::USAGE,
    }
}

/// Tells the host a reason on standard error.
#[cfg(all(feature = "wasm", target_os = "linux"))]
fn tell(error: &wasmtime::Error) {
    use std::io::Write as _;
    // The text of the error and of its causes. A reader that is gone needs none.
    let _ = writeln!(std::io::stderr(), "{error:#}");
}

/// The engine, set up alike for compiling and for running: code of another set-up is refused.
#[cfg(all(feature = "wasm", target_os = "linux"))]
fn engine(with_fuel: bool) -> wasmtime::Result<wasmtime::Engine> {
    let mut config = wasmtime::Config::new();
    config.consume_fuel(with_fuel);
    config.epoch_interruption(true);
    // Such images need `memfd_create`, which the sandbox refuses where no cgroup counts memory.
    config.memory_init_cow(false);
    wasmtime::Engine::new(&config)
}
