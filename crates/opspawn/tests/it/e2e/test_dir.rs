//! One user's place: a folder, a home without anything in it, and commands run there.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use ops_testkit::{DataDir, Launch, Opspawn};
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// The longest that a command may take: none may hang.
const TIMEOUT: Duration = Duration::from_secs(40);

/// A folder with a data folder in it.
pub(super) struct TestDir {
    folder: DataDir,
}

impl TestDir {
    /// An empty folder.
    pub(super) fn new() -> Self {
        Self {
            folder: DataDir::new().unwrap(),
        }
    }

    /// A path in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The data folder; it is not there until something makes it.
    pub(super) fn data(&self) -> PathBuf {
        self.join("data")
    }

    /// Writes the configuration file of the data folder.
    pub(super) fn configure(&self, text: &str) {
        std::fs::create_dir_all(self.data()).unwrap();
        std::fs::write(self.data().join("opspawn.toml"), text).unwrap();
    }

    /// `opspawn dev` on the data folder and a free port, to be started.
    pub(super) fn dev(&self) -> Launch {
        // The process starts in its data folder, so that has to be there.
        std::fs::create_dir_all(self.data()).unwrap();
        Launch::dev(self.data())
    }

    /// `opspawn dev`, started.
    pub(super) async fn server(&self) -> Opspawn {
        self.dev().start().await.unwrap()
    }

    /// A command in the folder, with the data folder in its environment. Where no provider is
    /// configured, a script answers.
    pub(super) fn cli(&self, args: &[&str]) -> Cli {
        let cli = self.cli_without_a_script(args);
        cli.env("OPSPAWN_SCRIPT", ops_testkit::echo())
    }

    /// The same with nothing set up: no provider and no script.
    pub(super) fn cli_without_a_script(&self, args: &[&str]) -> Cli {
        Cli::new(self.folder.path(), args).env("OPSPAWN_DATA", self.data())
    }

    /// A command in the folder that knows nothing of the data folder.
    pub(super) fn bare_cli(&self, args: &[&str]) -> Cli {
        Cli::new(self.folder.path(), args)
    }
}

/// The binary under test.
pub(super) fn binary() -> PathBuf {
    std::env::var_os("OPSPAWN_TEST_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_opspawn").into(), PathBuf::from)
}

/// A command to be run to its end.
pub(super) struct Cli {
    command: Command,
    stdin: Option<String>,
    line: String,
}

impl Cli {
    fn new(folder: &Path, args: &[&str]) -> Self {
        let home = folder.join("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .current_dir(folder)
            .args(args)
            .kill_on_drop(true);
        // A mutant that a test is to notice, in builds that have mutants.
        if let Some(mutant) = std::env::var_os("OPSPAWN_MUTANT") {
            command.env("OPSPAWN_MUTANT", mutant);
        }
        Self {
            command,
            stdin: None,
            line: args.join(" "),
        }
    }

    /// One more variable.
    pub(super) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// What comes on its standard input.
    pub(super) fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    /// Where its standard output goes, instead of to the test.
    pub(super) async fn run_into(mut self, stdout: Stdio) -> Ran {
        let stdin = if self.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        self.command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        if let (Some(text), Some(mut pipe)) = (self.stdin, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).await.unwrap();
        }
        let output = tokio::time::timeout(TIMEOUT, child.wait_with_output()).await;
        let output = output
            .unwrap_or_else(|_| panic!("`opspawn {}` hangs", self.line))
            .unwrap();
        let ran = Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            line: self.line,
        };
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
        ran
    }

    /// Runs it.
    pub(super) async fn run(self) -> Ran {
        self.run_into(Stdio::piped()).await
    }
}

/// What a command did.
#[derive(Debug)]
#[expect(dead_code, reason = "the line is there to be shown")]
pub(super) struct Ran {
    line: String,
    /// Its exit code; none if a signal ended it.
    pub(super) code: Option<i32>,
    /// Its results.
    pub(super) stdout: String,
    /// All else that it said.
    pub(super) stderr: String,
}

impl Ran {
    /// Itself, if it ended with this code.
    #[track_caller]
    pub(super) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Itself, if its standard error has all of this in it.
    #[track_caller]
    pub(super) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in {self:#?}");
        }
        self
    }

    /// Its standard output, which must be one JSON document and nothing else.
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Its standard output, which must be one JSON document a line.
    #[track_caller]
    pub(super) fn json_lines(&self) -> Vec<Value> {
        let read =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        self.stdout.lines().map(read).collect()
    }
}

/// Fails if the server has panicked anywhere, or logged an error.
#[track_caller]
pub(super) fn assert_calm(server: &Opspawn) {
    assert_only(server, &[]);
}

/// Fails if the server has panicked anywhere, or logged an error that has none of these words.
#[track_caller]
pub(super) fn assert_only(server: &Opspawn, expected: &[&str]) {
    let is_expected = |line: &String| {
        !line.contains("panicked") && expected.iter().any(|words| line.contains(words))
    };
    let mut alarms = server.alarms();
    alarms.retain(|line| !is_expected(line));
    assert!(alarms.is_empty(), "{alarms:#?}");
}
