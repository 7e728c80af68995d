//! The official client scenarios (`@modelcontextprotocol/conformance`), run by `cargo xtask test`, which
//! installs them. Passed are checks, not exit codes: an idle client exits with 0 as well.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// Node 20 has no `fs.globSync`, which the suite imports and client scenarios do not call. An import by name
/// needs it before the suite is read, so its `fs` is a module with one more name.
const HOOK: &str = r#"
import { register } from "node:module";
const inline = (code) => "data:text/javascript," + encodeURIComponent(code);
const fs = inline(`export * from "node:fs"; export { default } from "node:fs"; export const globSync = () => [];`);
register(inline(`export const resolve = (name, context, next) =>
    name === "fs" && context.parentURL?.includes("/conformance/")
        ? { url: ${JSON.stringify(fs)}, shortCircuit: true }
        : next(name, context);`));
"#;
/// The scenarios that a revision requires of clients, and how many there are.
const REVISIONS: [(&str, usize); 2] = [("2025-11-25", 18), ("2026-07-28", 32)];

#[test]
#[ignore = "needs the conformance suite, which `cargo xtask test` installs"]
fn every_required_client_scenario_passes() {
    let Some(suite) = ops_testkit::npm_package("@modelcontextprotocol/conformance/dist/index.js")
    else {
        return;
    };
    let client = example("conformance");
    let folder = tempfile::tempdir().unwrap();
    let hook = folder.path().join("hook.mjs");
    std::fs::write(&hook, HOOK).unwrap();
    for (revision, required) in REVISIONS {
        let results = folder.path().join(revision);
        let mut command = Command::new("node");
        command
            .arg("--import")
            .arg(&hook)
            .arg(&suite)
            .args(["client", "--requirements", revision, "--command"])
            .arg(&client)
            .arg("--output-dir")
            .arg(&results)
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let scored = scored(&suite, revision);
        assert_eq!(scored.len(), required, "the requirement set of {revision}");
        let found = checks(&results);
        let mut failed = Vec::new();
        for scenario in &scored {
            let name = scenario.replace('/', "-");
            let checks = found
                .iter()
                .find(|(folder, _)| folder.contains(&name) || folder.contains(scenario));
            match checks {
                Some((_, checks)) if passes(checks) => {}
                Some((_, checks)) => failed.push(format!("{scenario}: {}", wrong(checks))),
                None => failed.push(format!("{scenario}: no result")),
            }
        }
        println!(
            "{revision}: {} of {required} scenarios pass",
            required - failed.len()
        );
        assert!(
            failed.is_empty(),
            "{revision}: {failed:#?}\n{text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// At least one check succeeded and no check failed.
fn passes(checks: &[Value]) -> bool {
    let has = |status: &str| checks.iter().any(|check| check["status"] == status);
    has("SUCCESS") && !has("FAILURE")
}

fn wrong(checks: &[Value]) -> String {
    let failed = checks.iter().filter(|check| check["status"] == "FAILURE");
    let texts = failed.map(|check| {
        format!(
            "{} {} {}",
            check["id"], check["description"], check["errorMessage"]
        )
    });
    texts.collect::<Vec<_>>().join("; ")
}

/// The scenarios that count.
fn scored(suite: &Path, revision: &str) -> Vec<String> {
    let file = suite
        .ancestors()
        .nth(2)
        .unwrap()
        .join(format!("requirements/{revision}.yaml"));
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().skip_while(|line| *line != "client:").skip(1);
    let lines = lines.take_while(|line| {
        line.starts_with("  - ") || line.trim().is_empty() || line.starts_with("  #")
    });
    lines
        .filter_map(|line| line.strip_prefix("  - "))
        .map(str::to_owned)
        .collect()
}

/// The checks of each scenario, by the folder of its results.
fn checks(folder: &Path) -> BTreeMap<String, Vec<Value>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "checks.json") {
                let text = std::fs::read_to_string(&path).unwrap();
                let name = path
                    .parent()
                    .unwrap()
                    .strip_prefix(folder)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.insert(name, serde_json::from_str(&text).unwrap());
            }
        }
    }
    found
}

/// An example that cargo built beside this test.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(
        path.is_file(),
        "{} is not built: `cargo build --examples` first",
        path.display()
    );
    path
}
