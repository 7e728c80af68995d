//! The end of a program, as the result or the failure of its call.

use agentkit::{ToolSpec, event::Failure, tool::OUTCOME_UNKNOWN};
use agentkit_sandbox::{Ended, Error, Limit, Outcome};
use serde_json::Value;

use super::{secrets::Redaction, tool::Program, wasm};

/// Bytes of standard error that a failure shows.
const SHOWN_ERROR: usize = 2 * 1024;

/// Words of programs and libraries that could not reach a host.
const UNREACHED: [&str; 13] = [
    "could not resolve",
    "name resolution",
    "name or service not known",
    "nodename nor servname",
    "network is unreachable",
    "unable to resolve",
    "getaddrinfo",
    "enotfound",
    "eai_again",
    "enetunreach",
    "bad address",
    "dns error",
    "no such host",
];
/// Words of programs whose request the proxy refused.
const REFUSED_BY_PROXY: [&str; 3] = [
    "connect tunnel failed",
    "proxyerror",
    "tunnel connection failed",
];

/// How a program that seems to have failed for want of a network gets one.
fn network_hint(hosts: &[String], error: &[u8]) -> String {
    let error = String::from_utf8_lossy(error).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
    let is_unreached = says(&UNREACHED);
    match hosts {
        [] if is_unreached || says(&["connection refused"]) => {
            "; the tool has no network: `hosts` of its declaration names what it may reach"
                .to_owned()
        }
        [] => String::new(),
        hosts if is_unreached || says(&REFUSED_BY_PROXY) => format!(
            "; the tool reaches {} alone, through the proxy that HTTPS_PROXY names: `hosts` of its declaration",
            hosts.join(", ")
        ),
        _ => String::new(),
    }
}

impl Program {
    /// Warning for a failed call that may have taken effect.
    pub(super) fn doubt(&self) -> &'static str {
        match self.definition.effect.is_write() {
            false => "",
            true => "; it may have taken effect: check before calling it again",
        }
    }

    /// The code of the failure of a program that did not end by itself. What it had done by then is not known; it
    /// matters where the program changes more than the task's files.
    fn broken_off<'a>(&self, code: &'a str) -> &'a str {
        let definition = &self.definition;
        let reaches_out = !definition.hosts.is_empty() || !definition.write.is_empty();
        match definition.effect.is_write() && reaches_out {
            true => OUTCOME_UNKNOWN,
            false => code,
        }
    }

    pub(super) fn not_run(&self, spec: &ToolSpec, error: &Error) -> Failure {
        let name = &spec.name;
        match error {
            Error::Unavailable(_) => Failure::passing(
                "sandbox_unavailable",
                format!("tool `{name}` did not run: {error}; `opspawn doctor` tries the sandbox"),
            ),
            Error::NotStarted(_) | Error::Invalid(_) => Failure::last(
                "command_not_started",
                format!("tool `{name}` did not run: {error}"),
            ),
            Error::Lost(_) => Failure::last(
                self.broken_off("command_lost"),
                format!("tool `{name}`: {error}{}", self.doubt()),
            ),
        }
    }

    pub(super) fn result(
        &self,
        spec: &ToolSpec,
        outcome: &Outcome,
        redaction: &Redaction<'_>,
    ) -> Result<Value, Failure> {
        let name = &spec.name;
        let failed = |code: &str, what: String| {
            let shown = shown(&outcome.error, redaction);
            Failure::last(code, format!("tool `{name}` {what}{}{shown}", self.doubt()))
        };
        let definition = &self.definition;
        let of_module = self.module.as_ref();
        let of_module = of_module.and_then(|module| {
            wasm::failure(outcome.ended, module, definition.memory, definition.timeout)
        });
        if let Some((code, what)) = of_module {
            let code = match code {
                // It never ran.
                "invalid_module" => code,
                code => self.broken_off(code),
            };
            return Err(failed(code, what));
        }
        match outcome.ended {
            Ended::Exited(0) => {}
            Ended::Exited(code) => {
                let hint = network_hint(&self.definition.hosts, &outcome.error);
                return Err(failed(
                    "command_failed",
                    format!("failed with exit code {code}{hint}"),
                ));
            }
            Ended::Signalled(signal) => {
                return Err(failed(
                    self.broken_off("command_failed"),
                    format!("was ended by signal {signal}"),
                ));
            }
            Ended::Passed(limit) => {
                let definition = &self.definition;
                let what = match limit {
                    Limit::Wall => {
                        format!("did not end within its timeout of {:?}", definition.timeout)
                    }
                    Limit::Cpu => "used more processor time than its limit `cpu`".to_owned(),
                    Limit::Memory => {
                        format!(
                            "used more memory than its limit of {} bytes",
                            definition.memory
                        )
                    }
                    Limit::Output => format!(
                        "wrote more than its limit of {} bytes",
                        definition.output_bytes
                    ),
                    Limit::Disk => {
                        "wrote more files or bytes than the workspace may hold".to_owned()
                    }
                };
                let code = self.broken_off("limit_passed");
                return Err(failed(code, format!("was killed: it {what}")));
            }
        }
        let Ok(text) = std::str::from_utf8(&outcome.output) else {
            return Err(failed(
                "invalid_output",
                "ran, but wrote no UTF-8 to its output".to_owned(),
            ));
        };
        if self.definition.text {
            return Ok(Value::String(redaction.text(text)));
        }
        match serde_json::from_str(text) {
            Ok(value) => Ok(redaction.value(value)),
            Err(_) if text.trim().is_empty() => Ok(Value::Null),
            Err(error) => {
                let beginning: String = redaction.text(text).chars().take(80).collect();
                Err(failed(
                    "invalid_output",
                    format!(
                        "ran, but its output is no JSON ({error}): {beginning:?}; `text = true` takes text"
                    ),
                ))
            }
        }
    }
}

/// The end of a program's standard error, for the model.
fn shown(error: &[u8], redaction: &Redaction<'_>) -> String {
    let text = redaction.text(&String::from_utf8_lossy(error));
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    let mut start = text.len().saturating_sub(SHOWN_ERROR);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!(":\n{}", &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_a_network_is_told_about_hosts() {
        let hosts = vec!["api.example.com".to_owned()];
        for (hosts, error, says) in [
            (&[][..], "curl: (6) Could not resolve host: x", "no network"),
            (&[][..], "connect: Connection refused", "no network"),
            (
                &hosts,
                "curl: (56) CONNECT tunnel failed, response 403",
                "api.example.com alone",
            ),
            (&hosts, "connect: Connection refused", ""),
            (&[][..], "no such file", ""),
        ] {
            let hint = network_hint(hosts, error.as_bytes());
            assert!(
                hint.contains(says) && hint.is_empty() == says.is_empty(),
                "{error}: {hint}"
            );
        }
    }
}
