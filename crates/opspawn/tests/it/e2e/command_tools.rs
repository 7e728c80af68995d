//! Command tools, through the program: declared in the configuration file, run in the sandbox.
//!
//! These tests need a machine that can sandbox: where it cannot, they fail and say why.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use ops_testkit::wait_until;
use serde_json::{Value, json};

use super::{
    tasks,
    test_dir::{TestDir, binary},
};

const CANARY: &str = "canary-4f1b-of-a-secret";

/// Writes a program into the tool folder of a dir.
fn program(dir: &TestDir, name: &str, text: &str) {
    let path = dir.data().join("tools").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_mistake_refuses_to_start_and_names_the_line() {
    let dir = TestDir::new();
    for (text, says) in [
        (
            "# x\n\n[tools.command.a]\ndescription = 'x'\ncomand = ['a']\n",
            "line 5: tool `a`, `comand`: there is no key `comand`; did you mean `command`?",
        ),
        (
            "# x\n[tools.command.a]\ndescription = 'x'\ncommand = []\n",
            "line 2: tool `a`: `command` names no program",
        ),
        (
            "[tools.command.a]\ndescription = 'x'\ncommand = ['a']\nread = ['/no/such/folder']\n",
            "line 1: tool `a`: `read` names /no/such/folder",
        ),
        (
            "[tools.command.calculator]\ndescription = 'x'\ncommand = ['a']\n",
            "calculator",
        ),
        (
            "[tools.command.a]\ndescription = 'x'\ncommand = ['a']\ntimeout = 'soon'\n",
            "line 4",
        ),
    ] {
        dir.configure(text);
        let ran = dir.cli(&["run", "x"]).run().await.ends(2);
        assert!(ran.stderr.contains(says), "{text}: {ran:#?}");
    }
}

/// Each language's skeleton works as it is written.
#[tokio::test]
async fn a_new_tool_works_as_it_is() {
    let dir = TestDir::new();
    fs::write(dir.join("example.txt"), "one two\nthree\n").unwrap();
    for language in ["shell", "python", "rust"] {
        let name = format!("count_{language}");
        let made = dir.cli(&["tool", "new", &name, "--language", language, "--json"]);
        let made: Value = serde_json::from_str(&made.run().await.ends(0).stdout).unwrap();
        if let Some(build) = made["build"].as_str() {
            let mut words = build.split(' ');
            let built = std::process::Command::new(words.next().unwrap())
                .args(words)
                .status();
            assert!(built.unwrap().success(), "{build}");
        }
        let call =
            |input: &str| dir.cli(&["tool", "call", &name, input, "--workspace", ".", "--json"]);
        let ran = call(r#"{"path": "example.txt"}"#).run().await.ends(0);
        let told: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(
            told["output"],
            json!({"lines": 2, "words": 3}),
            "{language}: {ran:#?}"
        );
        assert_eq!(told["files"], json!([]), "{language}");
        let ran = call(r#"{"path": "absent.txt"}"#).run().await.ends(1);
        assert!(ran.stderr.contains("absent.txt"), "{language}: {ran:#?}");
        assert!(
            ran.stderr.contains("command_failed"),
            "{language}: {ran:#?}"
        );
        let ran = call(r#"{"pth": "x"}"#).run().await.ends(1);
        assert!(
            ran.stderr.contains("invalid_arguments"),
            "{language}: {ran:#?}"
        );
        dir.cli(&["tool", "new", &name]).run().await.ends(1);
    }
    let shown = dir
        .cli(&["tool", "show", "count_shell"])
        .run()
        .await
        .ends(0);
    assert!(shown.stdout.contains("effect   pure"), "{shown:#?}");
    assert!(shown.stdout.contains("source   command"), "{shown:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_calls_a_program_and_its_files_follow_the_task() {
    let dir = TestDir::new();
    dir.configure(
        "[tools.command.note]\ndescription = 'Writes a note'\nfolder = 'tools'\n\
         command = ['/tool/note.sh', '{name}']\nmemory = '64MiB'\n\
         input = { type = 'object', properties = { name = { type = 'string' } } }\n",
    );
    program(
        &dir,
        "note.sh",
        "#!/bin/sh\nread input\necho \"$input\" > notes-$1.txt\nrm -f old.txt\n\
         printf '{\"key\": \"%s\", \"tool\": \"%s\", \"user\": %s, \"home\": \"%s\"}' \
         $OPSPAWN_CALL_KEY $OPSPAWN_TOOL $(id -u) \"$HOME\"\n",
    );
    let server = dir.server().await;
    let http = server.http();
    let calls = [
        "{ tool = \"write_file\", arguments = { path = \"old.txt\", content = \"x\" } }",
        "{ tool = \"note\", arguments = { name = \"a; rm -rf x\" } }",
    ];
    let id = tasks::scripted(http, &calls).await;
    let ended = tasks::ended(http, &id).await;
    assert_eq!(ended["status"], "completed", "{ended:#}");
    let called = tasks::events(http, &id, "tool.called").await;
    let note = called.iter().find(|event| event["name"] == "note").unwrap();
    let step = note["step"].clone();
    let completed = tasks::events(http, &id, "tool.completed").await;
    let completed = completed
        .iter()
        .find(|event| event["step"] == step)
        .unwrap();
    assert_eq!(completed["output"]["key"], note["key"], "{completed:#}");
    assert_eq!(completed["output"]["tool"], "note");
    assert_eq!(completed["output"]["home"], "/tmp");
    assert_eq!(note["effect"], "write");
    // What the sandbox lets it touch, and no more.
    assert_eq!(
        note["resources"],
        json!({"reads": [{"tree": "."}], "writes": [{"tree": "."}]})
    );
    let files = completed["files"].as_array().unwrap();
    let paths: Vec<&str> = files
        .iter()
        .filter_map(|file| file["path"].as_str())
        .collect();
    assert_eq!(paths, ["notes-a; rm -rf x.txt", "old.txt"]);
}

/// The tier and what it counts are shown where a person and a monitor look.
#[tokio::test(flavor = "multi_thread")]
async fn the_tier_is_told_by_doctor_ready_and_metrics() {
    let dir = TestDir::new();
    dir.configure("[tools.command.yes]\ndescription = 'x'\ncommand = ['true']\neffect = 'pure'\n");
    let doctor = dir.cli(&["doctor"]).run().await.ends(0);
    let line = doctor.stdout.lines().find(|line| line.contains("sandbox"));
    let line = line.unwrap_or_else(|| panic!("{doctor:#?}"));
    assert!(line.starts_with("ok   sandbox   process: "), "{line}");
    for part in ["namespaces", "seccomp", "memory by", "processes by"] {
        assert!(line.contains(part), "{line}");
    }
    let server = dir.server().await;
    let http = server.http();
    let id = tasks::scripted(http, &["{ tool = \"yes\" }"]).await;
    assert_eq!(tasks::ended(http, &id).await["status"], "completed");
    let ready: Value = http.get("/ready").await.unwrap().json().unwrap();
    let part = ready["parts"]["sandbox"].as_str().unwrap_or_default();
    assert!(part.starts_with("process: "), "{ready:#}");
    assert!(ready["warnings"].is_null(), "{ready:#}");
    let metrics = http.get("/metrics").await.unwrap().text();
    assert!(
        metrics.contains("opspawn_sandbox_calls_total 1"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_on_resources_hold_for_programs() {
    let dir = TestDir::new();
    dir.configure(
        "[tools.command.any]\ndescription = 'x'\ncommand = ['true']\n\
         [tools.command.narrow]\ndescription = 'x'\ncommand = ['true']\n\
         touches = { reads = ['file:{path}'] }\n\
         input = { type = 'object', properties = { path = { type = 'string' } } }\n\
         [tools.command.web]\ndescription = 'x'\ncommand = ['true']\nworkspace = 'none'\n\
         hosts = ['api.example.com']\n",
    );
    fs::write(
        dir.data().join("policy.toml"),
        "[[rule]]\naction = 'deny'\nreason = 'it is secret'\nwhen = { touches = { path = 'secret/*' } }\n\
         [[rule]]\naction = 'deny'\nreason = 'not there'\nwhen = { touches = { host = '*.example.com' } }\n",
    )
    .unwrap();
    for (tool, input, code) in [
        ("any", "{}", 1),
        ("narrow", r#"{"path": "public/a"}"#, 0),
        ("narrow", r#"{"path": "secret/a"}"#, 1),
        ("narrow", r#"{"path": "public/../secret/a"}"#, 1),
        ("narrow", "{}", 1),
        ("web", "{}", 1),
    ] {
        let ran = dir
            .cli(&["tool", "call", tool, input])
            .run()
            .await
            .ends(code);
        let denied = ran.stderr.contains("it is secret") || ran.stderr.contains("not there");
        assert_eq!(denied, code == 1, "{tool} {input}: {ran:#?}");
    }
}

/// The commands that are printed work as they are, also for a data folder with a space in its name.
#[tokio::test]
async fn the_commands_for_a_new_tool_work_as_printed() {
    let dir = TestDir::new();
    let made = [
        "--data",
        "my data",
        "tool",
        "new",
        "counts",
        "--language",
        "rust",
    ];
    let made = dir.bare_cli(&made).run().await.ends(0).stdout;
    let (_, commands) = made.split_once("Go on with:").expect("commands");
    let script = format!(
        "set -e\nopspawn() {{ '{}' \"$@\"; }}\n{commands}",
        binary().display()
    );
    let ran = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir.join("."))
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&ran.stdout);
    assert!(output.contains("\"words\": 3"), "{script}: {ran:?}");
    for name in ["calculator", "ask_human"] {
        let ran = dir.bare_cli(&["tool", "new", name]).run().await.ends(1);
        assert!(ran.stderr.contains("already"), "{ran:#?}");
    }
    dir.bare_cli(&["tool", "new", "--", "-x"])
        .run()
        .await
        .ends(2);
}

/// A program sees a granted folder at the path that the declaration has, also if links lead there.
#[tokio::test(flavor = "multi_thread")]
async fn a_granted_folder_has_the_path_that_was_written() {
    let dir = TestDir::new();
    let (real, link) = (dir.join("real"), dir.join("link"));
    fs::create_dir(&real).unwrap();
    fs::write(real.join("file"), "it is here").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let link = link.display();
    dir.configure(&format!(
        "[tools.command.reads]\ndescription = 'x'\ncommand = ['cat', '{link}/file']\n\
             read = ['{link}']\ntext = true\neffect = 'pure'\n"
    ));
    let ran = dir
        .cli(&["tool", "call", "reads", "{}"])
        .run()
        .await
        .ends(0);
    assert!(ran.stdout.contains("it is here"), "{ran:#?}");
}

/// Secrets that provably reached a program, its output, its error and a file are nowhere in what is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_nowhere_but_in_the_program() {
    let dir = TestDir::new();
    let tool = |name: &str, script: &str| {
        format!(
            "[tools.command.{name}]\ndescription = 'x'\ncommand = ['sh', '-c', '''{script}''']\n\
             secrets = ['TOKEN']\ntext = true\n"
        )
    };
    let text = [
        tool("says", "echo \"have $TOKEN of ${{#TOKEN}}\""),
        tool("fails", "echo \"no $TOKEN of ${{#TOKEN}}\" >&2; exit 3"),
        tool("keeps", "echo \"$TOKEN\" > kept.txt; echo done"),
        tool("lists", "env"),
        tool(
            "names",
            "mkdir \"d-$TOKEN\"; echo x > \"d-$TOKEN/named.txt\"",
        ),
        // No UTF-8, which the message about the file says.
        tool("odd", "echo x > \"$(printf '\\377')-$TOKEN\""),
    ]
    .concat();
    dir.configure(&text);
    let secrets = dir.data().join("secrets.env");
    fs::write(&secrets, format!("TOKEN={CANARY}\n")).unwrap();
    fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)).unwrap();
    let dev = dir
        .dev()
        .env("RUST_LOG", "trace")
        .env("OPSPAWN_LOG", "trace");
    let mut server = dev.start().await.unwrap();
    let http = server.http();
    let calls = ["says", "fails", "keeps", "lists", "names", "odd"]
        .map(|name| format!("{{ tool = \"{name}\" }}"));
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let id = tasks::scripted(http, &calls).await;
    let ended = tasks::ended(http, &id).await;
    let steps = json!(tasks::steps(http, &id).await).to_string();
    let length = CANARY.len();
    // It was there.
    assert!(
        steps.contains(&format!("have [secret TOKEN] of {length}")),
        "{steps}"
    );
    assert!(
        steps.contains(&format!("no [secret TOKEN] of {length}")),
        "{steps}"
    );
    assert!(
        steps.contains("secret_in_file") || steps.contains("wrote the secret TOKEN"),
        "{steps}"
    );
    assert!(steps.contains("d-[secret TOKEN]/named.txt"), "{steps}");
    assert!(steps.contains("is not UTF-8"), "{steps}");
    assert!(!steps.contains(CANARY) && !ended.to_string().contains(CANARY));
    let log = server.output();
    assert!(!log.contains(CANARY), "it is in the log");
    server.stop(Duration::from_secs(20)).await.unwrap();
    fs::remove_file(secrets).unwrap();
    // The program's own file is in the workspace, which is the program's; the database has it nowhere.
    for file in files_below(&dir.data()) {
        if file.ends_with("kept.txt") {
            continue;
        }
        let bytes = fs::read(&file).unwrap_or_default();
        let found = bytes.windows(length).any(|part| part == CANARY.as_bytes());
        assert!(!found, "it is in {}", file.display());
    }
}

pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files
}

/// P3 and P19 for programs: killed in the middle of a call, each class is settled as it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_killed_is_settled_by_key_probe_or_person() {
    let dir = TestDir::new();
    let world = dir.join("world");
    fs::create_dir(&world).unwrap();
    let world = world.canonicalize().unwrap();
    let tool = |name: &str, more: &str| {
        format!(
            "[tools.command.{name}]\ndescription = 'x'\nfolder = 'tools'\nwrite = ['{0}']\n\
             command = ['/tool/act.sh', '{0}/{name}']\ntext = true\n{more}\n",
            world.display()
        )
    };
    let probe = |name: &str| {
        format!(
            "effect = 'write'\nprobe = {{ command = ['/tool/look.sh', '{}/{name}', '{{key}}'], settle = '100ms' }}",
            world.display()
        )
    };
    let text = [
        tool("keyed", "effect = 'keyed'"),
        tool("probed", &probe("probed")),
        tool("unprobed", "effect = 'write'"),
    ]
    .concat();
    dir.configure(&text);
    // The first call takes effect and does not return; a later one would.
    program(
        &dir,
        "act.sh",
        "#!/bin/sh\necho $OPSPAWN_CALL_KEY >> $1\n[ $(wc -l < $1) -gt 1 ] || sleep 600\necho done\n",
    );
    program(
        &dir,
        "look.sh",
        "#!/bin/sh\nif grep -q -- \"$2\" \"$1\"; then echo '\"done\"'; else echo '\"not_done\"'; fi\n",
    );
    let mut server = dir.server().await;
    let mut ids = Vec::new();
    for name in ["keyed", "probed", "unprobed"] {
        ids.push(tasks::scripted(server.http(), &[&format!("{{ tool = \"{name}\" }}")]).await);
    }
    let lines = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(world.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let begun = || async {
        let all = ["keyed", "probed", "unprobed"];
        all.iter().all(|name| lines(name).len() == 1).then_some(())
    };
    wait_until("the three calls", Duration::from_secs(20), begun)
        .await
        .unwrap();
    server.sigkill().unwrap();
    drop(server);
    // Nothing of the calls is left: the sleep of `act.sh` has the place's folder in its arguments' parent.
    let gone = || async { sleepers(&world).is_empty().then_some(()) };
    wait_until("the end of the programs", Duration::from_secs(5), gone)
        .await
        .unwrap();
    let server = dir.server().await;
    let http = server.http();
    let keyed = tasks::ended(http, &ids[0]).await;
    assert_eq!(keyed["status"], "completed", "{keyed:#}");
    let keys = lines("keyed");
    assert_eq!(keys.len(), 2, "it ran again");
    assert_eq!(keys[0], keys[1], "with the same key");
    let probed = tasks::ended(http, &ids[1]).await;
    assert_eq!(probed["status"], "completed", "{probed:#}");
    assert_eq!(lines("probed").len(), 1, "it did not run again");
    let seen = tasks::events(http, &ids[1], "tool.probed").await;
    assert_eq!(seen[0]["saw"], "done", "{seen:#?}");
    let parked = tasks::in_state(http, &ids[2], &["waiting"]).await;
    assert!(parked.to_string().contains("in_doubt"), "{parked:#}");
    assert_eq!(lines("unprobed").len(), 1, "it did not run again");
}

/// Promise P19: a program that was ended in the middle may have changed what it reaches beside the task's files.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_was_ended_in_the_middle_is_in_doubt_where_it_reaches_out() {
    let dir = TestDir::new();
    let world = dir.join("world");
    fs::create_dir(&world).unwrap();
    let world = world.canonicalize().unwrap();
    let tool = |name: &str, script: &str, more: &str| {
        format!(
            "[tools.command.{name}]\ndescription = 'x'\ncommand = ['sh', '-c', '''{script}''']\n\
             text = true\ntimeout = '1s'\n{more}\n"
        )
    };
    let writes = format!("write = ['{}']", world.display());
    let act = format!("echo x >> {}/hangs; sleep 600", world.display());
    let text = [
        tool("hangs", &act, &writes),
        tool("dies", "kill -9 $$", &writes),
        tool(
            "reads",
            "sleep 600",
            &format!("{writes}\neffect = 'idempotent'"),
        ),
        tool("refuses", "exit 3", &writes),
        tool("alone", "sleep 600", ""),
    ]
    .concat();
    dir.configure(&text);
    for (name, code) in [
        ("hangs", "outcome_unknown"),
        ("dies", "outcome_unknown"),
        ("reads", "limit_passed"),
        ("refuses", "command_failed"),
        ("alone", "limit_passed"),
    ] {
        let ran = dir.cli(&["tool", "call", name, "{}", "--workspace", "."]);
        let ran = ran.run().await.ends(1);
        assert!(ran.stderr.contains(code), "{name}: {ran:#?}");
    }
    // The call of an agent is made once, and its task waits for a person.
    let server = dir.server().await;
    let id = tasks::scripted(server.http(), &["{ tool = \"hangs\" }"]).await;
    let parked = tasks::in_state(server.http(), &id, &["waiting"]).await;
    assert!(parked.to_string().contains("in_doubt"), "{parked:#}");
    let lines = fs::read_to_string(world.join("hangs")).unwrap();
    assert_eq!(lines.lines().count(), 2, "once by hand, once by the task");
}

/// Processes whose arguments name a folder.
fn sleepers(folder: &Path) -> Vec<i32> {
    let wanted = folder.display().to_string();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&wanted)
    })
    .collect()
}

/// P8 through the server: a program that uses too much fails its own call, and the server goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_goes_wild_fails_its_call_alone() {
    let dir = TestDir::new();
    let tool = |name: &str, script: &str| {
        format!(
            "[tools.command.{name}]\ndescription = 'x'\ncommand = ['sh', '-c', '''{script}''']\n\
             effect = 'pure'\nworkspace = 'none'\ntext = true\ntimeout = '2s'\nmemory = '64MiB'\nprocesses = 16\n"
        )
    };
    let text = [
        tool("hangs", "trap '' TERM; sleep 600"),
        tool("forks", "f() {{ f | f & }}; f; sleep 600"),
        tool("talks", "yes"),
        tool("eats", "tail /dev/zero"),
        tool("fills", "cat /dev/zero > /tmp/x; rm /tmp/x; exit 1"),
        tool("well", "echo fine"),
    ]
    .concat();
    dir.configure(&text);
    let server = dir.server().await;
    let http = server.http();
    for (name, says) in [
        ("hangs", "did not end within its timeout"),
        ("forks", ""),
        ("talks", "wrote more than its limit"),
        ("eats", "used more memory than its limit"),
        ("fills", "No space left"),
    ] {
        let id = tasks::scripted(
            http,
            &[&format!("{{ tool = \"{name}\" }}"), "{ tool = \"well\" }"],
        )
        .await;
        let ended = tasks::ended(http, &id).await;
        assert_eq!(ended["status"], "completed", "{name}: {ended:#}");
        assert_eq!(
            ended["result"]["answer"].as_str().unwrap().trim(),
            "fine",
            "{ended:#}"
        );
        let steps = json!(tasks::steps(http, &id).await).to_string();
        assert!(steps.contains(says), "{name}: {steps}");
    }
}
