//! Guards and limits of the policy file, through the program.

use std::fs;

use super::test_dir::TestDir;

#[tokio::test]
async fn guards_hold_for_arguments_and_results_and_limits_for_time() {
    let dir = TestDir::new();
    fs::create_dir_all(dir.data()).unwrap();
    fs::write(
        dir.join("key.txt"),
        "number 1234-5678, and\n-----BEGIN PRIVATE KEY-----\n",
    )
    .unwrap();
    fs::write(dir.join("card.txt"), "number 1234-5678, and no more\n").unwrap();
    fs::write(
        dir.data().join("opspawn.toml"),
        "[tools.command.waits]\ndescription = 'x'\ncommand = ['sleep', '600']\neffect = 'pure'\nworkspace = 'none'\n",
    )
    .unwrap();
    fs::write(
        dir.data().join("policy.toml"),
        "[[guard]]\nresult = '\\d{4}-\\d{4}'\nreason = 'a card'\n\
         [[guard]]\ntool = 'read_*'\nresult = 'PRIVATE KEY'\naction = 'withhold'\nreason = 'keys stay here'\n\
         [[guard]]\ntool = 'write_file'\narguments = '(?i)rm -rf'\nreason = 'no such scripts'\n\
         [[limit]]\ntool = 'waits'\ntimeout = '300ms'\n",
    )
    .unwrap();
    let call =
        |tool: &str, input: &str| dir.cli(&["tool", "call", tool, input, "--workspace", "."]);
    let ran = call("read_file", r#"{"path": "card.txt"}"#)
        .run()
        .await
        .ends(0);
    assert!(
        ran.stdout
            .contains("number [taken out: a card], and no more"),
        "{ran:#?}"
    );
    let ran = call("read_file", r#"{"path": "key.txt"}"#)
        .run()
        .await
        .ends(1);
    assert!(
        ran.stderr.contains("result_withheld") && ran.stderr.contains("keys stay here"),
        "{ran:#?}"
    );
    assert!(!ran.stderr.contains("1234-5678"), "{ran:#?}");
    let input = r##"{"path": "a.sh", "content": "#!/bin/sh\nRM -RF /tmp/x"}"##;
    let ran = call("write_file", input).run().await.ends(1);
    assert!(
        ran.stderr.contains("denied") && ran.stderr.contains("no such scripts"),
        "{ran:#?}"
    );
    assert!(!dir.join("a.sh").exists());
    let ran = call("waits", "{}").run().await.ends(1);
    assert!(
        ran.stderr.contains("tool_timeout") && ran.stderr.contains("300ms"),
        "{ran:#?}"
    );
    // A guard of no tool is a mistake, as a rule of none is.
    fs::write(
        dir.data().join("policy.toml"),
        "[[guard]]\ntool = 'raed_*'\nresult = 'x'\n",
    )
    .unwrap();
    let ran = call("read_file", r#"{"path": "card.txt"}"#)
        .run()
        .await
        .ends(2);
    assert!(ran.stderr.contains("guard 1 can never match"), "{ran:#?}");
}
