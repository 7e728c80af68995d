//! The policy file, through the program.

use super::test_dir::TestDir;

const SCRIPT: &str = r#"
[[turn]]
calls = [
    { tool = "calculator", arguments = { expression = "1 + 1" } },
    { tool = "calculator", arguments = { expression = "2 * 3" } },
]
[[turn]]
answer = "{{ last }}"
"#;

const POLICY: &str = r#"
[[rule]]
tool = "calc*"
action = "deny"
reason = "no sums"
when = { expression = "*+*" }
"#;

#[tokio::test]
async fn a_rule_ends_the_calls_that_it_speaks_of() {
    let test_dir = TestDir::new();
    std::fs::write(test_dir.join("s.toml"), SCRIPT).unwrap();
    std::fs::write(test_dir.join("p.toml"), POLICY).unwrap();
    let cli = |args: &[&str]| {
        test_dir
            .cli(args)
            .env("OPSPAWN_SCRIPT", test_dir.join("s.toml"))
            .env("OPSPAWN_POLICY", test_dir.join("p.toml"))
    };
    let ran = cli(&["run", "x"]).run().await.ends(0);
    assert!(ran.stdout.contains("denied: no sums"), "{}", ran.stdout);
    assert!(ran.stdout.contains(r#""result":"6""#), "{}", ran.stdout);
    assert!(!ran.stdout.contains(r#""result":"2""#), "{}", ran.stdout);
    let doctor = cli(&["doctor"]).run().await.ends(0);
    assert!(
        doctor.stdout.contains("profile `default`, 1 rule from"),
        "{}",
        doctor.stdout
    );
}

/// cli/C3: rules that could never match were taken in silence, and `doctor` said that all was well.
#[tokio::test]
async fn a_rule_that_can_never_match_is_refused_with_the_nearest_name() {
    let test_dir = TestDir::new();
    std::fs::write(test_dir.join("s.toml"), SCRIPT).unwrap();
    let rule = |tool: &str, when: &str| {
        format!("[[rule]]\ntool = \"{tool}\"\naction = \"deny\"\n{when}\n")
    };
    for (policy, says) in [
        (rule("writefile", ""), "did you mean `write_file`?"),
        (
            rule("calculator", "when = { expresion = \"*\" }"),
            "did you mean `expression`?",
        ),
    ] {
        std::fs::write(test_dir.join("p.toml"), &policy).unwrap();
        let cli = |args: &[&str]| {
            test_dir
                .cli(args)
                .env("OPSPAWN_SCRIPT", test_dir.join("s.toml"))
                .env("OPSPAWN_POLICY", test_dir.join("p.toml"))
        };
        let doctor = cli(&["doctor"]).run().await.ends(1);
        assert!(doctor.stdout.contains("FAIL policy"), "{doctor:#?}");
        assert!(doctor.stdout.contains(says), "{doctor:#?}");
        let ran = cli(&["run", "x"]).run().await.ends(2);
        assert!(ran.stderr.contains("can never match"), "{ran:#?}");
    }
    let _server = test_dir.server().await;
    let agent = "name = \"a\"\n[[policy.rule]]\ntool = \"writefile\"\naction = \"deny\"\n";
    let apply = test_dir.cli(&["agent", "apply", "-f", "-"]).stdin(agent);
    let refused = apply.run().await.ends(2);
    assert!(
        refused.stderr.contains("did you mean `write_file`?"),
        "{refused:#?}"
    );
}
