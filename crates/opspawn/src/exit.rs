//! Exit codes, and the errors that ask for one.

use std::process::ExitCode;

use serde_json::{Value, json};

/// What the process says to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// The command failed.
    Failed = 1,
    /// The command line or the input was wrong.
    Usage = 2,
    /// The task failed or was cancelled.
    TaskFailed = 3,
    /// The server or the database cannot be used.
    Unavailable = 5,
    /// The task waits for a person's decision, answer or raise.
    Waits = 6,
    /// Time was up.
    Timeout = 124,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that asks for its own exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}{}", fix_line(fix.as_deref()))]
pub(crate) struct Exiting {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) message: String,
    /// How to mend it, where the message does not say.
    pub(crate) fix: Option<String>,
    /// The server's code of it, if it comes from there.
    pub(crate) code: Option<String>,
}

fn fix_line(fix: Option<&str>) -> String {
    fix.map_or_else(String::new, |fix| format!("\nfix: {fix}"))
}

/// An error with an exit code.
pub(crate) fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Exiting {
        exit,
        message: message.into(),
        fix: None,
        code: None,
    }
    .into()
}

/// The exit code of an error.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    if let Some(exiting) = error.downcast_ref::<Exiting>() {
        return exiting.exit;
    }
    match error.downcast_ref::<ops_store::OpenError>() {
        Some(_) => Exit::Unavailable,
        None => Exit::Failed,
    }
}

/// The server's code of an error, if the error comes from there.
pub(crate) fn coded(error: &anyhow::Error) -> Option<&str> {
    error.downcast_ref::<Exiting>()?.code.as_deref()
}

/// The same error with more said in front of its message.
pub(crate) fn about(what: &str, error: &anyhow::Error) -> anyhow::Error {
    let exiting = error.downcast_ref::<Exiting>();
    Exiting {
        exit: code_of(error),
        message: match exiting {
            Some(exiting) => format!("{what}: {}", exiting.message),
            None => format!("{what}: {error:#}"),
        },
        fix: exiting.and_then(|exiting| exiting.fix.clone()),
        code: exiting.and_then(|exiting| exiting.code.clone()),
    }
    .into()
}

/// Several errors as one, with the exit code and the fix of the first.
pub(crate) fn all(errors: Vec<anyhow::Error>) -> anyhow::Result<()> {
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else {
        return Ok(());
    };
    let others: Vec<String> = errors.map(|error| format!("{error:#}")).collect();
    if others.is_empty() {
        return Err(first);
    }
    let exiting = first.downcast_ref::<Exiting>();
    let message = exiting.map_or_else(|| format!("{first:#}"), |exiting| exiting.message.clone());
    Err(Exiting {
        exit: code_of(&first),
        message: format!("{message}\n{}", others.join("\n")),
        fix: exiting.and_then(|exiting| exiting.fix.clone()),
        code: exiting.and_then(|exiting| exiting.code.clone()),
    }
    .into())
}

/// An error for programs: what `--json` prints on standard error.
pub(crate) fn json_of(error: &anyhow::Error) -> Value {
    let exit = code_of(error);
    let exiting = error.downcast_ref::<Exiting>();
    let own = match exit {
        Exit::Usage => "usage",
        Exit::Unavailable => "unavailable",
        Exit::Interrupted => "interrupted",
        Exit::Ok | Exit::Failed | Exit::TaskFailed | Exit::Waits | Exit::Timeout => "failed",
    };
    let message = match exiting {
        Some(exiting) => exiting.message.clone(),
        None => format!("{error:#}"),
    };
    json!({"error": {
        "code": coded(error).unwrap_or(own),
        "message": message,
        "fix": exiting.and_then(|exiting| exiting.fix.as_deref()),
        "exit": exit as u8,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cli/C11: errors under `--json` had no code.
    #[test]
    fn an_error_is_told_to_programs_with_its_code() {
        let refused: anyhow::Error = Exiting {
            exit: Exit::Usage,
            message: "there is no task `x`".to_owned(),
            fix: Some("List them.".to_owned()),
            code: Some("task_not_found".to_owned()),
        }
        .into();
        assert_eq!(refused.to_string(), "there is no task `x`\nfix: List them.");
        assert_eq!(
            json_of(&about("a.toml", &refused)),
            json!({"error": {"code": "task_not_found", "message": "a.toml: there is no task `x`",
                "fix": "List them.", "exit": 2}})
        );
        let own = error(Exit::Unavailable, "no server");
        assert_eq!(json_of(&own)["error"]["code"], "unavailable");
        let other = anyhow::anyhow!("inner").context("outer");
        let told = json_of(&other);
        assert_eq!(told["error"]["message"], "outer: inner");
        assert_eq!(
            (&told["error"]["code"], &told["error"]["exit"]),
            (&json!("failed"), &json!(1))
        );
    }
}
