use crate::config::{ServerConfig, ToolPolicy};

use super::*;
use agentkit::tool::Effect;

fn config(text: &str) -> Config {
    let lookup = |name: &str| match name {
        "TOKEN" => Some("sesame-open".to_owned().into()),
        "EMPTY" => Some(String::new().into()),
        "MODE" => Some(crate::config::Variable {
            value: "/kept/apart".to_owned(),
            is_secret: true,
        }),
        "FOLDER" => Some("/home/someone".to_owned().into()),
        _ => None,
    };
    read(text, Path::new("/data"), &lookup).unwrap()
}

fn program(server: &ServerConfig) -> &crate::process::Program {
    match &server.transport {
        crate::config::Transport::Stdio(program) => program,
        crate::config::Transport::Http { .. } => panic!("{server:?}"),
    }
}

fn url(server: &ServerConfig) -> &str {
    match &server.transport {
        crate::config::Transport::Http { url, .. } => url.as_str(),
        crate::config::Transport::Stdio(_) => panic!("{server:?}"),
    }
}

#[test]
fn the_file_of_version_1_is_read() {
    let config = config(
        "mcp_server_base_path: servers\n\
         mcp_call_tool_timeout_seconds: 45\n\
         servers:\n\
         \x20 tickets:\n\
         \x20   enabled: true\n\
         \x20   command: python\n\
         \x20   script_path: tickets/server.py\n\
         \x20   args: [--verbose, 3]\n\
         \x20   env: {TICKETS_TOKEN: \"${TOKEN}\"}\n\
         \x20   tools:\n\
         \x20     \"get_*\": {effect: pure}\n\
         \x20     \"get_secret\": {policy: ask}\n\
         \x20     \"*\": {effect: keyed, timeout: 5m}\n\
         \x20 old: {enabled: false, command: nowhere}\n\
         \x20 plain: {script_path: x.py}\n",
    );
    assert_eq!(config.servers.len(), 2, "{config:?}");
    let server = &config.servers["tickets"];
    let started = program(server);
    assert_eq!(started.command, "python");
    assert_eq!(
        started.args,
        ["/data/servers/tickets/server.py", "--verbose", "3"]
    );
    assert_eq!(started.env["TICKETS_TOKEN"], "sesame-open");
    assert_eq!(server.timeout, Duration::from_secs(45));
    assert_eq!(server.effect("get_user"), Effect::Pure);
    assert_eq!(server.effect("get_secret"), Effect::Pure);
    assert_eq!(server.policy("get_secret"), ToolPolicy::Ask);
    assert_eq!(server.effect("delete"), Effect::Keyed);
    assert_eq!(server.timeouts("delete").0, Duration::from_secs(300));
    assert_eq!(server.timeouts("get_user").0, Duration::from_secs(300));
    assert_eq!(program(&config.servers["plain"]).command, "python3");
    assert!(!server.redactor().clean("x sesame-open").contains("sesame"));
    assert!(
        !format!("{server:?}").contains("sesame-open") || format!("{server:?}").contains("secrets")
    );
}

/// ahead-tools/21.
#[test]
fn the_files_of_other_programs_are_read() {
    let config = config(
        r#"{
  // what a desktop client wrote
  "mcpServers": {
    "a": {"command": "npx", "args": ["-y", "x"], "env": {"K": "v"}, "autoApprove": ["*"]},
    "b": {"url": "https://b.example/mcp"},
    "c": {"type": "streamable-http", "url": "https://c.example/mcp", "timeout": 60000},
    "d": {"transport": "streamableHttp", "httpUrl": "https://d.example/mcp", "timeout": 60},
    "e": {"transportType": "sse", "serverUrl": "https://e.example/sse", "headers": {"Authorization": "Bearer ${TOKEN}"}},
    "f": {"type": "stdio", "command": "f", "disabled": true}, /* off */
    "g": {"type": "carrier-pigeon", "command": "g"},
    "h": {"args": ["x"]},
    "i": 5,
  },
}"#,
    );
    let names: Vec<&str> = config.servers.keys().map(String::as_str).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert_eq!(url(&config.servers["b"]), "https://b.example/mcp");
    assert_eq!(config.servers["c"].timeout, Duration::from_secs(60));
    assert_eq!(config.servers["d"].timeout, Duration::from_secs(60));
    assert_eq!(url(&config.servers["e"]), "https://e.example/sse");
    // No approval is taken from such a file.
    assert_eq!(config.servers["a"].policy("x"), ToolPolicy::Allow);
    assert!(
        config.server_notes["a"]
            .iter()
            .any(|note| note.contains("`autoApprove` approves nothing")),
        "{:?}",
        config.server_notes
    );
    // A bad entry costs one server, and names its line.
    let refused: Vec<&str> = config.refused.keys().map(String::as_str).collect();
    assert_eq!(refused, ["g", "h", "i"]);
    assert!(
        config.refused["g"].starts_with("line 10: `type: carrier-pigeon`"),
        "{}",
        config.refused["g"]
    );
    assert!(
        config.refused["h"].starts_with("line 11: it has neither"),
        "{}",
        config.refused["h"]
    );

    let other = read(
        r#"{"servers": {"x": {"command": "x"}}}"#,
        Path::new("/"),
        &|_| None,
    )
    .unwrap();
    assert_eq!(other.servers.len(), 1);
}

/// ahead-tools/19.
#[test]
fn a_variable_without_a_value_costs_its_server_and_is_named() {
    let entries = [
        (
            "{command: \"${NONE}\"}",
            "`command`: the variable `NONE` is not set",
        ),
        (
            "{command: x, args: [a, \"${NONE}\"]}",
            "`args[1]`: the variable `NONE`",
        ),
        (
            "{command: x, env: {K: \"${NONE}\"}}",
            "`env.K`: the variable `NONE`",
        ),
        ("{url: \"https://${NONE}/\"}", "`url`: the variable `NONE`"),
        (
            "{url: \"https://x.example/\", headers: {A: \"${NONE}\"}}",
            "`headers.A`: the variable `NONE`",
        ),
        (
            "{url: \"https://x.example/\", headers: {A: \"Bearer ${EMPTY}\"}}",
            "`headers.A` is empty",
        ),
        (
            "{url: \"https://x.example/\", headers: {A: \"Bearer ${NONE:-}\"}}",
            "`headers.A` is empty",
        ),
        (
            "{command: x, env: {K: \"${NONE\"}}",
            "`env.K`: `${` is not closed",
        ),
    ];
    for (entry, says) in entries {
        let config = config(&format!("servers:\n  ok: {{command: y}}\n  bad: {entry}\n"));
        assert_eq!(config.servers.len(), 1, "{entry}");
        let problem = &config.refused["bad"];
        assert!(
            problem.starts_with("line 3: ") && problem.contains(says),
            "{entry}: {problem}"
        );
        assert!(!problem.contains("sesame"));
    }
    let fine = config(
        "servers: {s: {command: x, args: [\"${NONE:-d}\", \"$${A}\", \"$A\"], env: {E: \"${EMPTY}\"}}}",
    );
    let started = program(&fine.servers["s"]);
    assert_eq!(started.args, ["d", "${A}", "$A"]);
    assert_eq!(started.env["E"], "");
}

#[test]
fn wrong_values_say_what_is_right() {
    for (entry, says) in [
        ("{command: x, timeout: -1}", "`timeout` is not a time"),
        ("{command: x, timeout: 0}", "`timeout` is 0"),
        (
            "{command: x, tools: {a: {effect: maybe}}}",
            "none of pure, idempotent",
        ),
        (
            "{command: x, tools: {a: {policy: perhaps}}}",
            "none of allow, ask, deny",
        ),
        (
            "{command: x, tools: {a: {effects: pure}}}",
            "did you mean `effect`",
        ),
        ("{command: x, tools: [a]}", "use `allow`"),
        ("{command: x, allow: a}", "`allow` is not a list"),
        ("{url: \"ftp://x/\"}", "http or https"),
        ("{url: \"https://u:p@x.example/\"}", "user name or password"),
        (
            "{url: \"https://x.example/\", oauth: {client: x}}",
            "`oauth.client` is not known",
        ),
        ("{command: x, enabled: 1}", "neither true nor false"),
        (
            "{comand: x}",
            "`comand` is not known; did you mean `command`?",
        ),
        ("{command: x, timout: 5}", "did you mean `timeout`?"),
        ("{command: x, arg: [y]}", "did you mean `args`?"),
        (
            "{command: x, url: \"https://x.example/\"}",
            "both a program and `url`",
        ),
        (
            "{command: x, allow: [a], includeTools: [b]}",
            "`allow` and `includeTools` are the same list",
        ),
    ] {
        let config = config(&format!("servers:\n  bad: {entry}\n"));
        let problem = config
            .refused
            .get("bad")
            .unwrap_or_else(|| panic!("{entry} was taken"));
        assert!(problem.contains(says), "{entry}: {problem}");
    }
    let foreign = config("servers: {a: {command: x, envFile: y, colour: z}}\nowner: me");
    let notes = &foreign.server_notes["a"];
    for key in ["`envFile` is not read", "`colour` is not read"] {
        assert!(notes.iter().any(|note| note.contains(key)), "{notes:?}");
    }
    assert!(foreign.notes.iter().any(|note| note.contains("`owner`")));
    let near = read(
        "servers: {}\nmcp_server_base_pth: x",
        Path::new("/"),
        &|_| None,
    );
    let near = near.unwrap_err().to_string();
    assert!(
        near.contains("did you mean `mcp_server_base_path`?"),
        "{near}"
    );
}

#[test]
fn a_file_that_is_none_is_refused_and_names_the_line() {
    let error = |text: &str| {
        read(text, Path::new("/"), &|_| None)
            .unwrap_err()
            .to_string()
    };
    assert!(
        error("{\"mcpServers\": {\n \"a\": }\n}").contains("line 2"),
        "{}",
        error("{\"mcpServers\": {\n \"a\": }\n}")
    );
    assert!(
        error("servers:\n  a: {command: x\n").contains("line"),
        "{}",
        error("servers:\n  a: {command: x\n")
    );
    assert!(error("tools: {}").contains("`mcpServers`"));
    assert!(
        read("", Path::new("/"), &|_| None)
            .unwrap()
            .servers
            .is_empty()
    );
    assert!(
        read("servers:\n", Path::new("/"), &|_| None)
            .unwrap()
            .servers
            .is_empty()
    );
}

#[test]
fn the_identity_is_of_the_program_and_not_of_its_secrets() {
    let one = |text: &str| config(text).servers["s"].identity();
    let plain = one("servers: {s: {command: x, env: {K: a}}}");
    assert_eq!(
        plain,
        one("servers: {s: {command: x, env: {K: b}, timeout: 5}}")
    );
    assert_ne!(plain, one("servers: {s: {command: x, args: [y]}}"));
}

#[test]
fn patterns_that_match_no_tool_are_named() {
    let config = config(
        "servers:\n  s:\n    command: x\n    allow: [\"*_note\", zzz]\n    deny: [delete_al, \"drop_*\"]\n    tools:\n      \
         ad_note: {policy: ask}\n      add_note: {policy: ask}\n      lst: {effect: pure}\n",
    );
    let idle = config.servers["s"].idle_patterns(&["add_note", "delete_all", "list"]);
    let found: Vec<(&str, bool)> = idle.iter().map(|one| (&*one.why, one.is_guard)).collect();
    let tools = "known are `add_note`, `delete_all`, `list`";
    assert_eq!(
        found,
        [
            (
                &*format!("`zzz` of `allow` matches no tool of the server; {tools}"),
                false
            ),
            (
                "`delete_al` of `deny` matches no tool of the server; did you mean `delete_all`?",
                true
            ),
            (
                &*format!("`drop_*` of `deny` matches no tool of the server; {tools}"),
                false
            ),
            (
                "`ad_note` of `tools` matches no tool of the server; did you mean `add_note`?",
                true
            ),
            (
                "`lst` of `tools` matches no tool of the server; did you mean `list`?",
                false
            ),
        ]
    );
}

#[test]
fn a_server_whose_name_agents_cannot_write_says_how_to_name_its_tools() {
    let config = config("servers: {\"my server\": {command: x}, plain: {command: y}}");
    let notes = &config.server_notes["my server"];
    assert!(notes[0].contains("as `my-server-"), "{notes:?}");
    assert!(!config.server_notes.contains_key("plain"));
}

/// Promise P13: a value from the file of secrets is one, whatever its name says and wherever it is used.
#[test]
fn whatever_comes_from_where_secrets_are_kept_is_a_credential() {
    let config = config(
        r#"{"mcpServers": {
            "a": {"command": "x", "args": ["--mode=${MODE}", "${FOLDER}"]},
            "b": {"command": "x", "env": {"PLACE": "${MODE}", "HERE": "${FOLDER}"}},
            "c": {"url": "https://h.example/${MODE}/mcp"},
            "d": {"url": "https://h.example/mcp", "headers": {"X-Mode": "${MODE}"}}
        }}"#,
    );
    for (name, server) in &config.servers {
        assert_eq!(server.credentials, ["/kept/apart"], "{name}");
        let answer = serde_json::json!({"/kept/apart": "in /home/someone: /kept/apart"});
        let cleaned = serde_json::json!({"[secret]": "in /home/someone: [secret]"});
        assert_eq!(server.redactor().clean_value(answer), cleaned, "{name}");
        assert!(
            !server.place().contains("kept"),
            "{name}: {}",
            server.place()
        );
    }
}

/// A setting that would do nothing is a mistake, and costs its server alone.
#[test]
fn sampling_is_off_and_cannot_be_switched_on() {
    let config = config(
        r#"{"mcpServers": {
            "off": {"command": "x", "sampling": false},
            "on": {"command": "x", "sampling": true}
        }}"#,
    );
    assert!(config.servers.contains_key("off"));
    assert!(
        config.refused["on"].contains("cannot be switched on"),
        "{:?}",
        config.refused
    );
}
