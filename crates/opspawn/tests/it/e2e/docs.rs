//! The commands of the README and the documents, each of which is run as it is written.
//!
//! A block `sh` is a script. In a block `console`, lines that begin with `$ ` are commands and the others
//! their output. A command goes to a server with a model stub, addresses and ids in it are those of this
//! test, and `cargo` is looked at instead of run.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use ops_testkit::ModelStub;
use serde_json::json;
use tokio::process::Command;

use super::{
    tasks,
    test_dir::{TestDir, binary},
};

/// Commands that are not run, by how they begin, and why not.
const NOT_RUN: [(&str, &str); 6] = [
    ("kill -9 %1", "the kill tests kill servers"),
    ("opspawn dev &", "the server of this test is there already"),
    ("opspawn reconcile resolve", "`in_doubt.rs` resolves calls"),
    ("opspawn bench", "`cargo xtask bench` runs the benchmarks"),
    (
        "opspawn task ls --data none",
        "`exit_codes.rs` looks for its exit code",
    ),
    ("echo $?", "`exit_codes.rs` looks for exit codes"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The README and every page of the documents.
fn pages() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.sort();
    paths.insert(0, root().join("README.md"));
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

/// The content of the blocks of a kind, each with the line on which it begins.
fn blocks(page: &str, kind: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut is_in = None;
    for (number, line) in (1..).zip(page.lines()) {
        match (line.strip_prefix("```"), is_in) {
            (Some(opens), None) => {
                is_in = Some(opens == kind);
                if opens == kind {
                    found.push((number, String::new()));
                }
            }
            (Some(_), Some(_)) => is_in = None,
            (None, Some(true)) => {
                let (_, block) = found.last_mut().unwrap();
                block.push_str(line);
                block.push('\n');
            }
            (None, Some(false) | None) => {}
        }
    }
    found
}

/// One command, with where it stands and the first line of its output.
struct Step {
    at: String,
    command: String,
    output: Option<String>,
}

/// The commands of a console: a command goes on while a quotation is open or its line ends with `\`.
fn console(at: &str, block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_open = false;
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (_, Some(last)) if is_open => {
                last.command.push('\n');
                last.command.push_str(line);
            }
            (Some(command), _) => steps.push(Step {
                at: at.to_owned(),
                command: command.to_owned(),
                output: None,
            }),
            (None, Some(last)) if last.output.is_none() => last.output = Some(line.to_owned()),
            (None, _) => {}
        }
        let command = steps.last().map_or("", |last| &last.command);
        is_open = command.matches('\'').count() % 2 == 1 || command.ends_with('\\');
    }
    steps
}

/// Every command of every page, but for those that are not run. A script is one command.
fn steps() -> Vec<(String, Vec<Step>)> {
    let mut used = BTreeSet::new();
    let mut is_run = |step: &Step| {
        let skipped = NOT_RUN
            .iter()
            .find(|(begin, _)| step.command.starts_with(begin));
        used.extend(skipped.map(|(begin, _)| *begin));
        skipped.is_none()
    };
    let found = pages()
        .into_iter()
        .map(|(name, page)| {
            let scripts = blocks(&page, "sh").into_iter().map(|(line, command)| Step {
                at: format!("{name}:{line}"),
                command,
                output: None,
            });
            let consoles = blocks(&page, "console").into_iter();
            let consoles =
                consoles.flat_map(|(line, block)| console(&format!("{name}:{line}"), &block));
            let steps: Vec<Step> = scripts.chain(consoles).filter(&mut is_run).collect();
            (name, steps)
        })
        .collect();
    for (begin, why) in NOT_RUN {
        assert!(
            used.contains(begin),
            "no document has `{begin}` any more ({why})"
        );
    }
    found
}

/// Programs that stand before those of the system.
fn shims(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    // `dev` runs until it is ready, in a folder of its own, and every other command as it is.
    let binary = binary();
    let opspawn = format!(
        "#!/bin/bash\n\
         if [ \"$1\" != dev ]; then exec {binary} \"$@\"; fi\n\
         out=$(mktemp); {binary} \"$@\" --data \"$(mktemp -d)\" --listen 127.0.0.1:0 > $out 2>&1 & server=$!\n\
         for i in $(seq 300); do grep -q ^ready $out && break; kill -0 $server 2>/dev/null || break; sleep 0.1; done\n\
         kill $server; wait $server; cat $out; grep -q ^ready $out\n",
        binary = binary.display()
    );
    write("opspawn", &opspawn);
    // An answer that says that the request is wrong fails the command.
    write(
        "curl",
        "#!/bin/bash\n\
         status=$(/usr/bin/env -i PATH=\"$REAL_PATH\" curl -m 20 -o out.txt -w '%{http_code}' \"$@\") || exit 1\n\
         cat out.txt; case $status in 2*|404|409) ;; *) echo \"status $status\" >&2; exit 1;; esac\n",
    );
    let cargo = format!(
        "#!/bin/bash\n\
         case \"$*\" in\n\
         'run --release -- '*) shift 3; exec opspawn \"$@\";;\n\
         'xtask test' | 'xtask test --install') grep -q '^mod test;' {root}/xtask/src/main.rs;;\n\
         'build --profile dist --features full') grep -q '^\\[profile.dist\\]' {root}/Cargo.toml && grep -q '^full = ' {root}/crates/opspawn/Cargo.toml;;\n\
         'run -p '*' --example '*) test -f {root}/examples/$5.rs;;\n\
         *) echo \"cargo $* is not known to this test\" >&2; exit 1;;\n\
         esac\n",
        root = root().display()
    );
    write("cargo", &cargo);
}

/// cli/C12: the commands of the documents, some of which had never worked as they were written.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_documents_does_what_it_says() {
    let test_dir = TestDir::new();
    let stub = ModelStub::start(test_dir.join("stub.jsonl"), &[])
        .await
        .unwrap();
    let models = |name: &str| (format!("{name}_BASE_URL"), stub.base_url());
    // The stub knows one way of asking, whatever the table says of a model.
    let config = test_dir.join("config.toml");
    std::fs::write(&config, "[models.\"openai/gpt-5\"]\nsurface = \"chat\"\n").unwrap();
    let mut dev = test_dir.dev().env("OPSPAWN_CONFIG", &config);
    for (name, url) in [models("OPENAI"), models("ANTHROPIC")] {
        dev = dev.env(name, url);
    }
    let server = dev.start().await.unwrap();
    let http = server.http();
    let script = "[[turn]]\nanswer = \"done\"";
    let task = json!({
        "task_type": "agent_run",
        "input_data": {"prompt": "x", "agent_config": {"provider": "scripted", "script": script}},
    });
    let id = tasks::submit(http, &task).await;
    tasks::ended(http, &id).await;

    let shims_in = test_dir.join("shims");
    std::fs::create_dir(&shims_in).unwrap();
    shims(&shims_in);
    let mut failures = String::new();
    let mut count = 0;
    for (page, steps) in steps() {
        let folder = test_dir.join(&page);
        std::fs::create_dir_all(folder.join("home/.local/share/bash-completion/completions"))
            .unwrap();
        fixtures(&folder);
        for step in steps {
            count += 1;
            let run = Run {
                folder: &folder,
                shims: &shims_in,
                base: &http.base(),
                // The cassettes are for a run without a server.
                data: (page != "testing.md").then(|| test_dir.data()),
                model: &stub.base_url(),
                config: &config,
                task: &id,
            };
            if let Err(why) = run.step(&step).await {
                let _ = writeln!(failures, "{}: {}\n{why}\n", step.at, step.command);
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count > 35, "only {count} commands were found");
}

/// The files that commands name, each as a document has it.
fn fixtures(folder: &Path) {
    let pages = pages();
    let block = |page: &str, kind: &str, has: &str| {
        let (_, text) = pages.iter().find(|(name, _)| name == page).unwrap();
        let found = blocks(text, kind).into_iter().map(|(_, block)| block);
        found
            .into_iter()
            .find(|block| block.contains(has))
            .unwrap_or_else(|| panic!("{page} has no {kind} with {has}"))
    };
    std::fs::create_dir_all(folder.join("agents")).unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    write(
        "agents/researcher.toml",
        block("agents.md", "toml", "name = \"researcher\""),
    );
    write(
        "agents/writer.md",
        block("agents.md", "markdown", "name: writer"),
    );
    write(
        "nightly.toml",
        block("cli.md", "toml", "name = \"nightly\""),
    );
    let hello = block("scripted-model.md", "console", "$ cat hello.toml");
    let lines = hello
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with("$ "));
    write("hello.toml", lines.collect::<Vec<_>>().join("\n"));
    write("openai", "a-key".to_owned());
}

struct Run<'a> {
    folder: &'a Path,
    shims: &'a Path,
    base: &'a str,
    data: Option<PathBuf>,
    model: &'a str,
    config: &'a Path,
    task: &'a str,
}

impl Run<'_> {
    async fn step(&self, step: &Step) -> Result<(), String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let openai = self.folder.join("openai");
        let script = self.with_ids(&step.command);
        let script = script
            .replace("http://127.0.0.1:8000", self.base)
            .replace("TASK_ID", self.task)
            .replace("/run/secrets/openai", openai.to_str().unwrap());
        let mut command = Command::new("bash");
        command
            .args(["-eu", "-c", &script])
            .env_clear()
            .env("PATH", format!("{}:{path}", self.shims.display()))
            .env("REAL_PATH", path)
            .env("HOME", self.folder.join("home"))
            .env("U", self.base)
            .env("OPSPAWN_CONFIG", self.config)
            .env("OPENAI_BASE_URL", self.model)
            .env("ANTHROPIC_BASE_URL", self.model)
            .envs(self.data.iter().map(|data| ("OPSPAWN_DATA", data)))
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
        let output = output.map_err(|_| "it hangs".to_owned())?;
        let output = output.map_err(|error| error.to_string())?;
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        let ran = format!("{}\n{stdout}\n{stderr}", output.status);
        let documented = step.output.as_deref().unwrap_or_default();
        if documented.starts_with("error: ") {
            let said = stderr.lines().any(|line| line == documented);
            return if said && !output.status.success() {
                Ok(())
            } else {
                Err(ran)
            };
        }
        if !output.status.success() {
            return Err(ran);
        }
        // The head of a table has the columns that the page shows.
        let is_head = |line: &str| {
            line.chars().filter(char::is_ascii_alphabetic).count() > 3
                && line
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c == ' ' || c == '.')
        };
        let words = |line: &str| {
            let words = line.split_whitespace().map(str::to_owned);
            words.take_while(|word| word != "...").collect::<Vec<_>>()
        };
        if is_head(documented) && stdout.lines().next().is_some_and(is_head) {
            let (shown, wanted) = (
                words(stdout.lines().next().unwrap_or_default()),
                words(documented),
            );
            if !shown.starts_with(&wanted) && !wanted.starts_with(&shown) {
                return Err(format!(
                    "the columns are {shown:?}, the page says {wanted:?}"
                ));
            }
        }
        Ok(())
    }

    /// The command with the task of this test in place of the page's.
    fn with_ids(&self, command: &str) -> String {
        let mut text = String::new();
        let mut rest = command;
        while let Some((before, after)) = rest.split_once("task_01a2") {
            let end = after.find(|c: char| !c.is_ascii_hexdigit() && c != '-');
            text.push_str(before);
            text.push_str(self.task);
            rest = &after[end.unwrap_or(after.len())..];
        }
        text + rest
    }
}
