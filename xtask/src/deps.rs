//! Which crate may import which: the arrows of the architecture, checked against cargo's own
//! resolution of the dependency graph (normal dependencies, all features, transitive).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cmd::Workspace;

/// A crate of the workspace and what it must never reach, however long the way. A name that ends
/// in `*` stands for every crate whose name begins so, the crate itself excepted.
struct Rule {
    from: &'static str,
    never: &'static [&'static [&'static str]],
}

const OURS: &[&str] = &[
    "ops-*",
    "opspawn",
    "opspawn-agentkit",
    "opspawn-bench",
    "agentkit-*",
    "xtask",
];
const LEAF: &[&str] = &["opspawn-*"];
const ENGINE: &[&str] = &["ops-*", "opspawn", "opspawn-bench", "xtask"];
const AGENTS: &[&str] = &["opspawn-agentkit", "agentkit-*"];
const SQL: &[&str] = &["rusqlite", "sqlx", "tokio-postgres"];
const HEAVY: &[&str] = &["axum", "tonic", "lapin", "rmcp"];
const WASM: &[&str] = &["wasmtime*"];
const WIRES: &[&str] = &["axum", "tonic"];
const ADAPTERS: &[&str] = &["ops-store", "ops-queue"];
const ABOVE: &[&str] = &["ops-agents", "ops-engine", "ops-server", "ops-worker"];
const TOP: &[&str] = &[
    "opspawn",
    "opspawn-bench",
    "ops-memory",
    "ops-testkit",
    "xtask",
];

/// One row for each crate of the workspace; a crate without a row is an error.
const RULES: &[Rule] = &[
    Rule {
        from: "opspawn-units",
        never: &[OURS, LEAF, &["tokio", "serde"], SQL, HEAVY, WASM],
    },
    Rule {
        from: "opspawn-bounded",
        never: &[OURS, SQL, HEAVY, WASM],
    },
    Rule {
        from: "opspawn-agentkit",
        never: &[ENGINE, &["agentkit-*"], SQL, HEAVY, WASM],
    },
    Rule {
        from: "agentkit-sandbox",
        never: &[ENGINE, AGENTS, SQL, HEAVY],
    },
    Rule {
        from: "agentkit-tools",
        never: &[ENGINE, SQL, HEAVY],
    },
    Rule {
        from: "agentkit-mcp",
        never: &[ENGINE, SQL, HEAVY],
    },
    Rule {
        from: "agentkit-sql",
        never: &[ENGINE, &["agentkit-mcp"], &["sqlx"], HEAVY],
    },
    Rule {
        from: "agentkit-memory",
        never: &[
            ENGINE,
            &[
                "agentkit-mcp",
                "agentkit-sandbox",
                "agentkit-sql",
                "agentkit-tools",
            ],
            &["sqlx"],
            HEAVY,
            WASM,
        ],
    },
    Rule {
        from: "ops-core",
        never: &[OURS, &["tokio"], SQL, HEAVY, WASM],
    },
    Rule {
        from: "ops-store",
        never: &[&["ops-queue"], ABOVE, AGENTS, HEAVY, WASM, TOP],
    },
    Rule {
        from: "ops-memory",
        never: &[
            ADAPTERS,
            ABOVE,
            AGENTS,
            SQL,
            HEAVY,
            WASM,
            &["opspawn", "ops-testkit", "xtask"],
        ],
    },
    Rule {
        from: "ops-queue",
        never: &[&["ops-store"], ABOVE, AGENTS, SQL, WIRES, TOP],
    },
    Rule {
        from: "ops-engine",
        never: &[
            AGENTS,
            WIRES,
            ADAPTERS,
            SQL,
            &["lapin", "ops-agents", "ops-server", "ops-worker"],
            TOP,
        ],
    },
    Rule {
        from: "ops-server",
        never: &[
            AGENTS,
            ADAPTERS,
            SQL,
            &["lapin", "ops-agents", "ops-worker", "tonic"],
            TOP,
        ],
    },
    Rule {
        from: "ops-proto",
        never: &[OURS, LEAF, SQL, &["axum", "lapin", "rmcp"], WASM],
    },
    Rule {
        from: "ops-grpc",
        never: &[
            AGENTS,
            ADAPTERS,
            SQL,
            &["lapin", "ops-agents", "ops-worker"],
            TOP,
        ],
    },
    Rule {
        from: "ops-worker",
        never: &[
            ADAPTERS,
            SQL,
            &["axum", "lapin", "ops-agents", "ops-engine", "ops-server"],
            TOP,
        ],
    },
    Rule {
        from: "ops-agents",
        never: &[
            ADAPTERS,
            SQL,
            &["axum", "lapin", "ops-engine", "ops-server"],
            TOP,
        ],
    },
    Rule {
        from: "opspawn",
        never: &[&["opspawn-bench", "ops-memory", "ops-testkit", "xtask"]],
    },
    Rule {
        from: "opspawn-bench",
        never: &[
            ADAPTERS,
            ABOVE,
            // Through `ops-testkit`, which makes databases for tests.
            &["rusqlite", "sqlx"],
            &["ops-core", "ops-memory", "opspawn", "xtask"],
        ],
    },
    Rule {
        from: "ops-testkit",
        never: &[
            AGENTS,
            ADAPTERS,
            ABOVE,
            &["rusqlite", "sqlx"],
            &["opspawn", "ops-memory", "xtask"],
        ],
    },
    Rule {
        from: "xtask",
        never: &[OURS, LEAF, SQL, HEAVY, WASM, &["tokio"]],
    },
];

/// Dependencies that only the crates beside them may name.
const HOMES: &[(&str, &[&str])] = &[
    ("jsonschema", &["opspawn-bounded"]),
    ("axum", &["ops-server", "ops-testkit"]),
    ("lapin", &["ops-queue"]),
    ("rmcp", &["agentkit-mcp", "ops-server"]),
    (
        "rusqlite",
        &["agentkit-memory", "agentkit-sql", "ops-store"],
    ),
    ("sqlx", &["ops-store"]),
    (
        "tokio-postgres",
        &["agentkit-sql", "ops-store", "ops-testkit"],
    ),
    ("tonic", &["ops-grpc", "ops-proto", "ops-worker"]),
    ("wasmtime", &["agentkit-sandbox"]),
    ("wasmtime-wasi", &["agentkit-sandbox"]),
];

/// What takes long to build and is not needed by the first command of the README.
const SLOW: &[&str] = &[
    "lapin",
    "mimalloc",
    "opentelemetry*",
    "prost*",
    "protox",
    "rmcp",
    "sqlx",
    "tonic*",
    "wasmtime",
];

/// Checks the arrows of the workspace, that a release has no crash points and no mutants, and that the default build
/// stays quick.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let graph = Graph::read(&workspace.metadata(&["--all-features"])?)?;
    let mut wrong = graph.violations(RULES, HOMES);
    for feature in test_only(&workspace.metadata(&["--features", "opspawn/full"])?) {
        wrong.push(format!(
            "the feature `full` turns on `{feature}`: a release would have them"
        ));
    }
    wrong.extend(Graph::read(&workspace.metadata(&[])?)?.slow("opspawn", SLOW));
    let manifest = fs::read_to_string(workspace.root.join("Cargo.toml"))?;
    wrong.extend(unoptimised(&manifest)?);
    if !wrong.is_empty() {
        bail!("{} forbidden arrows\n  {}", wrong.len(), wrong.join("\n  "));
    }
    println!(
        "deps: {} crates keep to {} rules",
        graph.members.len(),
        RULES.len() + HOMES.len()
    );
    Ok(())
}

/// Normal dependencies by package name.
#[derive(Default)]
struct Graph {
    members: BTreeSet<String>,
    arrows: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read(metadata: &Value) -> anyhow::Result<Self> {
        let mut names = BTreeMap::new();
        for package in list(&metadata["packages"])? {
            names.insert(text(&package["id"])?, text(&package["name"])?);
        }
        let name = |id: &Value| -> anyhow::Result<String> {
            let id = text(id)?;
            Ok(names
                .get(id)
                .with_context(|| format!("unknown package {id}"))?
                .to_string())
        };
        let mut graph = Self::default();
        for id in list(&metadata["workspace_members"])? {
            graph.members.insert(name(id)?);
        }
        for node in list(&metadata["resolve"]["nodes"])? {
            let to = graph.arrows.entry(name(&node["id"])?).or_default();
            for dependency in list(&node["deps"])? {
                if list(&dependency["dep_kinds"])?
                    .iter()
                    .any(|kind| kind["kind"].is_null())
                {
                    to.insert(name(&dependency["pkg"])?);
                }
            }
        }
        Ok(graph)
    }

    fn violations(&self, rules: &[Rule], homes: &[(&str, &[&str])]) -> Vec<String> {
        let mut wrong = Vec::new();
        for rule in rules {
            if !self.members.contains(rule.from) {
                wrong.push(format!(
                    "`{}` has a row but is not in the workspace",
                    rule.from
                ));
            }
            for path in self.paths(rule.from) {
                let end = path.last().expect("a path has an end");
                if rule
                    .never
                    .iter()
                    .copied()
                    .flatten()
                    .any(|never| matches(never, end))
                {
                    wrong.push(format!("{} (must never import {end})", path.join(" -> ")));
                }
            }
        }
        for member in &self.members {
            if !rules.iter().any(|rule| rule.from == member) {
                wrong.push(format!(
                    "`{member}` has no row in the table of xtask/src/deps.rs"
                ));
            }
            for (guest, at_home) in homes {
                let named = self
                    .arrows
                    .get(member)
                    .is_some_and(|to| to.contains(*guest));
                if named && !at_home.contains(&member.as_str()) {
                    let homes = at_home.join(", ");
                    wrong.push(format!(
                        "{member} -> {guest} ({guest} lives in {homes} only)"
                    ));
                }
            }
        }
        wrong
    }

    /// The dependencies of a crate that make its build slow.
    fn slow(&self, from: &str, slow: &[&str]) -> Vec<String> {
        let paths = self.paths(from).into_iter();
        paths
            .filter(|path| {
                let end = path.last().expect("a path has an end");
                slow.iter().any(|pattern| matches(pattern, end))
            })
            .map(|path| format!("{} (the default build has it)", path.join(" -> ")))
            .collect()
    }

    /// The shortest way from a crate to each crate that it reaches.
    fn paths(&self, from: &str) -> Vec<Vec<&str>> {
        let mut seen = BTreeSet::from([from]);
        let mut queue: VecDeque<Vec<&str>> = VecDeque::new();
        let mut paths = Vec::new();
        let Some((from, _)) = self.arrows.get_key_value(from) else {
            return paths;
        };
        queue.push_back(vec![from]);
        while let Some(path) = queue.pop_front() {
            let last = *path.last().expect("a path has an end");
            for to in self.arrows.get(last).into_iter().flatten() {
                if seen.insert(to) {
                    let mut longer = path.clone();
                    longer.push(to);
                    paths.push(longer.clone());
                    queue.push_back(longer);
                }
            }
        }
        paths
    }
}

/// Crates that `release` optimises less, in a row that `dist` inherits and does not take back: a release
/// would be slow without a sign of it.
fn unoptimised(manifest: &str) -> anyhow::Result<Vec<String>> {
    let manifest: toml::Table = toml::from_str(manifest).context("Cargo.toml")?;
    let level = |profile: &str, name: &str| {
        let row = manifest
            .get("profile")?
            .get(profile)?
            .get("package")?
            .get(name)?;
        row.get("opt-level")?.as_integer()
    };
    let rows = manifest
        .get("profile")
        .and_then(|profiles| profiles.get("release")?.get("package")?.as_table());
    let names = rows.into_iter().flat_map(toml::Table::keys);
    Ok(names
        .filter(|name| level("dist", name) != Some(3))
        .map(|name| format!("[profile.dist.package] does not set {name}.opt-level to 3 again"))
        .collect())
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// Whether the crate `fail` is resolved with its switch on.
/// What only a test build may have: the packages and features of crash points and of mutants.
const TEST_ONLY: [(&str, &str); 2] = [("#fail@", "failpoints"), ("opspawn-units@", "mutants")];

/// The features for tests that a build would have.
fn test_only(metadata: &Value) -> Vec<&'static str> {
    let nodes = metadata["resolve"]["nodes"].as_array();
    let nodes: Vec<&Value> = nodes.into_iter().flatten().collect();
    let has = |package: &str, feature: &str| {
        nodes.iter().any(|node| {
            let id = node["id"].as_str().unwrap_or_default();
            let features = node["features"].as_array();
            id.contains(package) && features.is_some_and(|on| on.iter().any(|f| f == feature))
        })
    };
    let found = TEST_ONLY
        .iter()
        .filter(|(package, feature)| has(package, feature));
    found.map(|(_, feature)| *feature).collect()
}

fn list(value: &Value) -> anyhow::Result<&Vec<Value>> {
    value
        .as_array()
        .context("cargo metadata: a list is missing")
}

fn text(value: &Value) -> anyhow::Result<&str> {
    value.as_str().context("cargo metadata: a name is missing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn graph(arrows: &[(&str, &[&str])]) -> Graph {
        let arrows: BTreeMap<String, BTreeSet<String>> = arrows
            .iter()
            .map(|(from, to)| {
                (
                    from.to_string(),
                    to.iter().map(ToString::to_string).collect(),
                )
            })
            .collect();
        Graph {
            members: BTreeSet::from(["core".to_owned()]),
            arrows,
        }
    }

    const CORE: &[Rule] = &[Rule {
        from: "core",
        never: &[&["tokio"], &["ops-*"]],
    }];

    #[test]
    fn an_indirect_arrow_is_reported_with_its_shortest_path() {
        let graph = graph(&[
            ("core", &["a", "b"]),
            ("a", &["c"]),
            ("b", &["tokio"]),
            ("c", &["tokio"]),
            ("tokio", &[]),
        ]);
        assert_eq!(
            graph.violations(CORE, &[]),
            ["core -> b -> tokio (must never import tokio)"]
        );
    }

    #[test]
    fn a_star_stands_for_every_crate_that_begins_so() {
        let graph = graph(&[("core", &["ops-x"]), ("ops-x", &["core"])]);
        assert_eq!(
            graph.violations(CORE, &[]),
            ["core -> ops-x (must never import ops-x)"]
        );
    }

    #[test]
    fn allowed_arrows_and_cycles_are_quiet() {
        let graph = graph(&[("core", &["serde"]), ("serde", &["core"])]);
        assert!(graph.violations(CORE, &[]).is_empty());
    }

    #[test]
    fn a_guest_outside_its_home_is_reported() {
        let graph = graph(&[("core", &["axum"]), ("axum", &[])]);
        let wrong = graph.violations(CORE, &[("axum", &["server"])]);
        assert_eq!(wrong, ["core -> axum (axum lives in server only)"]);
    }

    #[test]
    fn every_member_needs_a_row_and_every_row_a_member() {
        let mut graph = graph(&[("core", &[])]);
        graph.members.insert("new".into());
        graph.members.remove("core");
        let wrong = graph.violations(CORE, &[]);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("`core` has a row") && wrong[1].contains("`new` has no row"));
    }

    #[test]
    fn only_normal_dependencies_are_read() {
        let metadata = json!({
            "packages": [{"id": "i1", "name": "core"}, {"id": "i2", "name": "tokio"},
                         {"id": "i3", "name": "serde"}],
            "workspace_members": ["i1"],
            "resolve": {"nodes": [{"id": "i1", "deps": [
                {"pkg": "i2", "dep_kinds": [{"kind": "dev"}, {"kind": "build"}]},
                {"pkg": "i3", "dep_kinds": [{"kind": null}]}]}]},
        });
        let graph = Graph::read(&metadata).unwrap();
        assert_eq!(graph.arrows["core"], BTreeSet::from(["serde".to_owned()]));
        assert!(graph.violations(CORE, &[]).is_empty());
    }

    #[test]
    fn a_slow_dependency_of_the_default_build_is_reported() {
        let graph = graph(&[
            ("core", &["a"]),
            ("a", &["opentelemetry-otlp"]),
            ("opentelemetry-otlp", &[]),
        ]);
        assert_eq!(
            graph.slow("core", &["opentelemetry*"]),
            ["core -> a -> opentelemetry-otlp (the default build has it)"]
        );
        assert!(graph.slow("core", &["lapin"]).is_empty());
    }

    #[test]
    fn a_release_inherits_no_crate_that_is_not_optimised() {
        let manifest = "[profile.release.package]\na.opt-level = 0\nb.opt-level = 0\n\
                        [profile.dist.package]\na.opt-level = 3\n";
        assert_eq!(
            unoptimised(manifest).unwrap(),
            ["[profile.dist.package] does not set b.opt-level to 3 again"]
        );
        assert!(
            unoptimised("[profile.release]\nopt-level = 1\n")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_is_for_tests_is_seen() {
        let with = |id: &str, features: Value| json!({"resolve": {"nodes": [{"id": id, "features": features}]}});
        let fail = "registry+x#fail@0.5.1";
        let units = "path+file:///x/units#opspawn-units@0.1.0";
        let on = |id: &str, features| test_only(&with(id, features));
        assert_eq!(on(fail, json!(["default", "failpoints"])), ["failpoints"]);
        assert!(on(fail, json!(["default"])).is_empty());
        assert_eq!(on(units, json!(["mutants"])), ["mutants"]);
        assert!(on(units, json!(["default"])).is_empty());
    }
}
