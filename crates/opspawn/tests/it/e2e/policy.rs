//! The policy file, through the program.

use super::place::Place;

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
    let place = Place::new();
    std::fs::write(place.join("s.toml"), SCRIPT).unwrap();
    std::fs::write(place.join("p.toml"), POLICY).unwrap();
    let cli = |args: &[&str]| {
        place
            .cli(args)
            .env("OPSPAWN_SCRIPT", place.join("s.toml"))
            .env("OPSPAWN_POLICY", place.join("p.toml"))
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
