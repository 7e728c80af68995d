//! For tests: `host` runs calls that it reads from standard input, `attempt` tries to get out.
//!
//! An attempt ends with 42 if it succeeded, with 0 if it was held.

#![expect(clippy::print_stderr, reason = "tests read why an attempt failed")]

#[cfg(target_os = "linux")]
mod attempts;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod raw;

#[cfg(target_os = "linux")]
fn main() {
    agentkit_sandbox::helper();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["host", options @ ..] => host::run(options),
        ["attempt", name, rest @ ..] => attempts::run(name, rest),
        _ => std::process::exit(2),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
