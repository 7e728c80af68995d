//! What a model, a page or whoever names a task writes never steers the terminal (cli/C2).

use super::{tasks, test_dir::TestDir};

/// Clears the screen, writes the clipboard, rings, and turns what follows around; in TOML and in JSON.
const TOML: &str = r"\u001b[2J\u001b]52;c;cm0=\u0007\u009b2J\u007f\u202eDNE";
const RAW: &str = "\u{1b}[2J\u{1b}]52;c;cm0=\u{7}\u{9b}2J\u{7f}\u{202e}DNE";

#[track_caller]
fn assert_clean(shown: &str) {
    let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!shown.contains(steers), "{shown:?}");
}

#[tokio::test]
async fn no_command_shows_a_character_that_steers() {
    let test_dir = TestDir::new();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    std::fs::write(
        test_dir.data().join("policy.toml"),
        format!("[[rule]]\ntool = \"write_file\"\naction = \"ask\"\nreason = \"{TOML}\"\n"),
    )
    .unwrap();
    let script = format!(
        "name = \"s\"\n[[turn]]\ntext = \"I look. {TOML}\"\n\
         calls = [{{ tool = \"list_files\", arguments = {{ path = \"{TOML}\" }} }}]\n\
         [[turn]]\ncalls = [{{ tool = \"write_file\", arguments = {{ path = \"a\", content = \"{TOML}\" }} }}]\n\
         [[turn]]\nanswer = \"the answer {TOML}\"\n"
    );
    std::fs::write(test_dir.join("s.toml"), script).unwrap();
    let server = test_dir
        .dev()
        .env("OPSPAWN_PROVIDER", "scripted")
        .env("OPSPAWN_SCRIPT", test_dir.join("s.toml"))
        .start()
        .await
        .unwrap();
    let label = format!("team={RAW}");
    let name = format!("name {RAW}");
    let run = test_dir.cli(&["run", RAW, "--name", &name, "--label", &label]);
    let ran = run
        .run()
        .await
        .ends(6)
        .says(&["\\u{1b}[2J", "approval get"]);
    assert_clean(&ran.stderr);
    let id = ran
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("task "))
        .unwrap()
        .to_owned();
    let step = "4";
    for args in [
        &["task", "ls"][..],
        &["task", "get", &id],
        &["task", "get", &id, "--json"],
        &["task", "logs", &id],
        &["task", "logs", &id, "--json"],
        &["approval", "ls"],
        &["approval", "get", &id, step],
        &["approval", "get", &id, step, "--json"],
    ] {
        let ran = test_dir.cli(args).run().await.ends(0);
        assert_clean(&ran.stdout);
        assert!(ran.stdout.contains("[2J"), "it is shown: {args:?} {ran:#?}");
    }
    // The arguments that are approved are those that are shown, in their order.
    let shown = test_dir
        .cli(&["approval", "get", &id, step, "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(shown["input"]["content"], RAW);
    test_dir
        .cli(&["approval", "approve", &id, step])
        .run()
        .await
        .ends(0);
    let watched = test_dir.cli(&["task", "watch", &id]).run().await.ends(0);
    assert_clean(&watched.stdout);
    assert_clean(&watched.stderr);
    // What the server tells of its tasks is clean as well.
    assert!(
        server.output().contains(&format!("{id} completed in ")),
        "{}",
        server.output()
    );
    assert_clean(&server.output());
    let denied = test_dir.cli(&["task", "get", RAW]).run().await.ends(2);
    assert_clean(&denied.stderr);
    assert_eq!(tasks::get(server.http(), &id).await["name"], name);
}

/// An answer that goes into a file or a pipe is what the agent answered.
#[tokio::test]
async fn a_piped_answer_is_what_it_is() {
    let test_dir = TestDir::new();
    let script = format!("name = \"s\"\n[[turn]]\nanswer = \"{TOML}\"\n");
    std::fs::write(test_dir.join("s.toml"), script).unwrap();
    let ran = test_dir
        .cli(&["run", "x"])
        .env("OPSPAWN_PROVIDER", "scripted")
        .env("OPSPAWN_SCRIPT", test_dir.join("s.toml"))
        .run()
        .await
        .ends(0);
    assert_eq!(ran.stdout, format!("{RAW}\n"));
}
