//! Agents that were written for other tools: Markdown with YAML settings, as Claude Code, Copilot and others
//! publish them. Their settings are mapped to ours; what has no counterpart is left out, and both are told.

use serde_json::{Map, Value};
use units::ModelName;

use super::read::{MAX_NAME, is_name};
use crate::model::client::Provider;

/// Keys that only our definitions have: with one of them a file is ours, and its mistakes are mistakes.
const OURS: &[&str] = &[
    "planner",
    "script",
    "output",
    "limits",
    "policy",
    "instructions",
    "template",
];
/// Keys that only other tools have.
const THEIRS: &[&str] = &[
    "allowed-tools",
    "applyTo",
    "argument-hint",
    "author",
    "background",
    "capabilities",
    "category",
    "color",
    "disable-model-invocation",
    "disallowedTools",
    "effort",
    "emoji",
    "examples",
    "handoffs",
    "hidden",
    "hooks",
    "icon",
    "id",
    "infer",
    "isolation",
    "license",
    "maxTurns",
    "mcp-servers",
    "mcpServers",
    "metadata",
    "mode",
    "permission",
    "permissionMode",
    "priority",
    "skills",
    "tags",
    "target",
    "title",
    "type",
    "user-invocable",
    "user-invokable",
    "version",
];
/// Tools of other tools, in lower case, and ours that do the same.
const TOOLS: &[(&str, &[&str])] = &[
    ("read", &["read_file"]),
    ("readfile", &["read_file"]),
    ("view", &["read_file"]),
    ("notebookread", &["read_file"]),
    ("write", &["write_file"]),
    ("createfile", &["write_file"]),
    ("edit", &["edit_file", "write_file"]),
    ("editfiles", &["edit_file", "write_file"]),
    ("editfile", &["edit_file"]),
    ("multiedit", &["edit_file"]),
    ("new", &["write_file"]),
    ("glob", &["list_files"]),
    ("ls", &["list_files"]),
    ("list", &["list_files"]),
    ("listdirectory", &["list_files"]),
    ("filesearch", &["list_files"]),
    ("grep", &["search_files"]),
    ("textsearch", &["search_files"]),
    ("search", &["search_files", "list_files"]),
    ("codebase", &["search_files", "list_files", "read_file"]),
    ("webfetch", &["http_fetch"]),
    ("fetch", &["http_fetch"]),
    ("web", &["http_fetch"]),
    ("task", &["spawn_agent", "await_agents"]),
    ("agent", &["spawn_agent", "await_agents"]),
    ("runsubagent", &["spawn_agent", "await_agents"]),
    ("askuserquestion", &["ask_human"]),
    ("askquestions", &["ask_human"]),
];
/// Our own tools, which a mapped list may hold.
const OWN_TOOLS: &[&str] = &[
    "ask_human",
    "await_agents",
    "calculator",
    "current_time",
    "edit_file",
    "http_fetch",
    "http_request",
    "json_query",
    "list_files",
    "read_file",
    "read_result",
    "search_files",
    "search_result",
    "sleep_until",
    "spawn_agent",
    "table_query",
    "write_file",
];
/// What stands for every tool.
const ALL: [&str; 3] = ["*", "all", "all tools"];

/// The ends of the names of files that are agents of another tool whatever is in them.
const AGENT_FILES: [&str; 2] = [".agent", ".chatmode"];

/// Whether a file of this name, without its extension, is an agent of another tool. Some have no settings.
pub fn is_agent_file(stem: &str) -> bool {
    AGENT_FILES.iter().any(|end| stem.ends_with(end))
}

/// Whether settings are those of another tool.
pub(super) fn is_foreign(settings: &Map<String, Value>) -> bool {
    if OURS.iter().any(|key| settings.contains_key(*key)) {
        return false;
    }
    let tools = match settings.get("tools") {
        Some(Value::String(_)) => true,
        Some(Value::Object(switches)) => switches.values().all(Value::is_boolean),
        Some(Value::Array(names)) => {
            let mut names = names.iter().filter_map(Value::as_str);
            names.any(|name| counterpart(name).is_some_and(|ours| ours != [name]))
        }
        _ => false,
    };
    let name = settings.get("name");
    let is_ours = |name: &Value| name.as_str().is_some_and(is_name);
    tools
        || THEIRS.iter().any(|key| settings.contains_key(*key))
        || settings
            .get("model")
            .is_some_and(|model| named_models(model).is_none())
        || !name.is_some_and(is_ours)
}

/// Whether settings that were read line by line may be used: those of another tool with a description,
/// whose colons and quotes are why they are no YAML.
pub(super) fn may_be_read_by_line(settings: &Map<String, Value>) -> bool {
    settings.contains_key("description") && !OURS.iter().any(|key| settings.contains_key(*key))
}

/// Maps settings to ours, and says what became of them. `stem` is the name of the file without its
/// extension.
pub(super) fn map(
    settings: &Map<String, Value>,
    stem: Option<&str>,
) -> (Map<String, Value>, Vec<String>) {
    let (mut ours, mut notes, mut left_out) = (Map::new(), Vec::new(), Vec::new());
    let given = settings.get("name").and_then(Value::as_str);
    let stem = stem.map(|stem| {
        let ends = AGENT_FILES.iter();
        ends.fold(stem, |stem, end| stem.strip_suffix(end).unwrap_or(stem))
    });
    match given.or(stem) {
        Some(name) if given == Some(name) && is_name(name) => {
            ours.insert("name".to_owned(), name.into());
        }
        Some(name) => {
            let slug = slug(name);
            notes.push(match given {
                Some(given) => format!("name: `{}` became `{slug}`", shown(given)),
                None => format!("name: `{slug}`, as the file is named"),
            });
            ours.insert("name".to_owned(), slug.into());
        }
        None => {}
    }
    let disallowed = disallowed(settings);
    for (key, value) in settings {
        match (key.as_str(), value) {
            ("name", _) | (_, Value::Null) => {}
            ("description", Value::String(_)) => {
                ours.insert(key.clone(), value.clone());
            }
            ("temperature", Value::Number(_)) => {
                ours.insert(key.clone(), value.clone());
            }
            ("model", model) => match kept_models(model) {
                Some(models) => {
                    ours.insert(key.clone(), models.into());
                }
                None => left_out.push(format!(
                    "model {} (the configured model answers)",
                    shown(&text(model))
                )),
            },
            ("allowed-tools", _) if settings.contains_key("tools") => {}
            ("tools" | "allowed-tools", tools) => {
                let Tools {
                    ours: mapped,
                    notes: told,
                    without,
                } = tools_of(tools);
                if let Some(mapped) = mapped {
                    ours.insert("tools".to_owned(), mapped.into());
                }
                notes.extend(told);
                left_out
                    .extend((!without.is_empty()).then(|| format!("tools {}", without.join(", "))));
            }
            ("disallowedTools" | "permission", _) => {}
            (key, _) => left_out.push(shown(key)),
        }
    }
    if !disallowed.is_empty() {
        restrict(&mut ours, &disallowed);
        notes.push(format!("tools: without {}", disallowed.join(", ")));
    }
    if !left_out.is_empty() {
        notes.push(format!("left out: {}", left_out.join("; ")));
    }
    (ours, notes)
}

/// The models, where each is named with one of our providers.
fn kept_models(model: &Value) -> Option<Vec<String>> {
    let models = named_models(model)?;
    let is_known = |model: &ModelName| {
        let mut known = Provider::ALL.iter().map(|provider| provider.name());
        model.is_scripted() || known.any(|name| name == model.provider())
    };
    let all = models.iter().all(is_known);
    all.then(|| models.into_iter().map(String::from).collect())
}

/// The models, where each is named with a provider.
fn named_models(model: &Value) -> Option<Vec<ModelName>> {
    let names = match model {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let parsed = names.iter().map(|name| {
        name.parse::<ModelName>()
            .ok()
            .filter(|_| !name.contains(' '))
    });
    let models: Vec<ModelName> = parsed.collect::<Option<_>>()?;
    (!models.is_empty()).then_some(models)
}

/// What becomes of a list of tools.
struct Tools {
    /// None for every tool.
    ours: Option<Vec<String>>,
    notes: Vec<String>,
    without: Vec<String>,
}

fn tools_of(tools: &Value) -> Tools {
    let names = listed(tools);
    let is_all = |name: &String| ALL.contains(&name.to_lowercase().as_str());
    if names.iter().any(is_all) {
        return Tools {
            ours: None,
            notes: vec!["tools: every tool".to_owned()],
            without: Vec::new(),
        };
    }
    let (mut ours, mut theirs, mut without): (Vec<String>, Vec<String>, Vec<String>) =
        Default::default();
    for name in names {
        let Some(mapped) = counterpart(&name) else {
            without.push(shown(&name));
            continue;
        };
        if mapped != [name.as_str()] {
            theirs.push(shown(&name));
        }
        for tool in mapped {
            if !ours.iter().any(|known| known == tool) {
                ours.push((*tool).to_owned());
            }
        }
    }
    let became = match ours.as_slice() {
        [] => "none".to_owned(),
        ours => ours.join(", "),
    };
    let note =
        (!theirs.is_empty()).then(|| format!("tools: {} became {became}", theirs.join(", ")));
    Tools {
        ours: Some(ours),
        notes: note.into_iter().collect(),
        without,
    }
}

/// Our tools that do what this one does; none where there are none. A name may have a group before it
/// (`edit/editFiles`) and a restriction after it (`Bash(git:*)`).
fn counterpart(name: &str) -> Option<&'static [&'static str]> {
    if let Some(at) = OWN_TOOLS.iter().position(|own| *own == name) {
        return Some(&OWN_TOOLS[at..=at]);
    }
    let plain = name.split('(').next().unwrap_or(name).trim();
    let word = |text: &str| text.to_lowercase().replace(['_', '-', ' '], "");
    let find = |name: &str| {
        let name = word(name);
        let found = TOOLS.iter().find(|(theirs, _)| *theirs == name);
        found.map(|(_, ours)| *ours)
    };
    match plain.split_once('/') {
        // `github/fetch` is a tool of a server of theirs.
        Some((group @ ("read" | "edit" | "search" | "web" | "agent" | "vscode"), tool)) => {
            find(tool).or_else(|| find(group).filter(|_| tool == "*"))
        }
        Some(_) => None,
        None => find(plain),
    }
}

/// Names in a list, in one text (`Read, Bash(a, b)`), or as switches.
fn listed(tools: &Value) -> Vec<String> {
    let names = match tools {
        Value::Array(names) => {
            return names
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
        }
        Value::Object(switches) => {
            let on = switches.iter().filter(|(_, on)| **on == Value::Bool(true));
            return on.map(|(name, _)| name.clone()).collect();
        }
        Value::String(names) => names.trim().trim_start_matches('[').trim_end_matches(']'),
        _ => return Vec::new(),
    };
    let mut depth = 0_i32;
    let parts = names.split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth <= 0 && (c == ',' || c == '\n')
    });
    let clean = |name: &str| {
        name.trim()
            .trim_start_matches("- ")
            .trim_matches(['"', '\'', '`'])
            .trim()
            .to_owned()
    };
    let names = parts.map(clean).filter(|name| !name.is_empty());
    names.collect()
}

/// The tools that the other tool forbids: in a list, or as `deny` among permissions.
fn disallowed(settings: &Map<String, Value>) -> Vec<String> {
    let permissions = settings.get("permission").and_then(Value::as_object);
    let denied = permissions
        .into_iter()
        .flatten()
        .filter(|(_, word)| *word == "deny");
    let listed = settings
        .get("disallowedTools")
        .map(listed)
        .unwrap_or_default();
    let denied = denied.map(|(tool, _)| tool.clone());
    listed.into_iter().chain(denied).collect()
}

/// Takes tools away that the other tool forbids. Where it gives every other one, those are named that have
/// a counterpart.
fn restrict(ours: &mut Map<String, Value>, disallowed: &[String]) {
    let forbidden: Vec<&str> = disallowed
        .iter()
        .filter_map(|name| counterpart(name))
        .flatten()
        .copied()
        .collect();
    let given: Vec<String> = match ours.get("tools").and_then(Value::as_array) {
        Some(given) => given
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        None => OWN_TOOLS.iter().map(|name| (*name).to_owned()).collect(),
    };
    let kept = given
        .into_iter()
        .filter(|name| !forbidden.contains(&name.as_str()));
    ours.insert("tools".to_owned(), kept.collect::<Vec<_>>().into());
}

/// A name as ours are: `API Architect` is `api-architect`.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' | '_' | '.' => slug.push(c),
            _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.truncate(MAX_NAME);
    slug.trim_matches(['-', '_', '.']).to_owned()
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn shown(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(80) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapped(settings: Value, stem: &str) -> (Value, String) {
        let settings = settings.as_object().unwrap();
        assert!(is_foreign(settings), "{settings:?}");
        let (ours, notes) = map(settings, Some(stem));
        (Value::Object(ours), notes.join("\n"))
    }

    /// tools/T14: the shapes of published agents.
    #[test]
    fn settings_of_other_tools_are_mapped_and_the_rest_is_named() {
        let (ours, notes) = mapped(
            json!({
                "name": "API Reviewer", "description": "Reviews", "model": "sonnet", "color": "blue",
                "tools": "Read, Grep, Bash(git:*, npm:*), mcp__github__search",
            }),
            "api",
        );
        assert_eq!(
            ours,
            json!({"name": "api-reviewer", "description": "Reviews", "tools": ["read_file", "search_files"]})
        );
        for said in [
            "name: `API Reviewer` became `api-reviewer`",
            "tools: Read, Grep became read_file, search_files",
            "model sonnet (the configured model answers)",
            "tools Bash(git:*, npm:*), mcp__github__search",
            "color",
        ] {
            assert!(notes.contains(said), "{said}: {notes}");
        }
        let (ours, notes) = mapped(
            json!({
                "description": "Plans", "model": ["GPT-5 (copilot)", "Claude Sonnet 4.5"],
                "tools": ["search/codebase", "edit/editFiles", "github/*", "web/fetch", "vscode/askQuestions"],
                "handoffs": [{"label": "go"}], "argument-hint": "what",
            }),
            "Plan Mode.agent",
        );
        assert_eq!(ours["name"], "plan-mode");
        assert_eq!(
            ours["tools"],
            json!([
                "search_files",
                "list_files",
                "read_file",
                "edit_file",
                "write_file",
                "http_fetch",
                "ask_human"
            ])
        );
        assert!(
            notes.contains("left out: argument-hint; handoffs; model"),
            "{notes}"
        );
        assert!(notes.contains("tools github/*"), "{notes}");
    }

    #[test]
    fn every_form_of_a_list_of_tools_is_read() {
        for (tools, wanted) in [
            (json!("*"), None),
            (json!("All tools"), None),
            (json!(["*"]), None),
            (json!("Read"), Some(json!(["read_file"]))),
            (
                json!("[Read, \"Write\"]"),
                Some(json!(["read_file", "write_file"])),
            ),
            (
                json!("- Read\n- Write"),
                Some(json!(["read_file", "write_file"])),
            ),
            (json!(""), Some(json!([]))),
            (json!("Bash"), Some(json!([]))),
            (json!(["read_file", "Read"]), Some(json!(["read_file"]))),
            (
                json!(["read", "agent/runSubagent"]),
                Some(json!(["read_file", "spawn_agent", "await_agents"])),
            ),
            (
                json!({"read": true, "bash": true, "write": false}),
                Some(json!(["read_file"])),
            ),
        ] {
            let (ours, _) = mapped(json!({"name": "A b", "tools": tools}), "x");
            assert_eq!(ours.get("tools"), wanted.as_ref(), "{tools}");
        }
        let (ours, _) = mapped(json!({"name": "a", "allowed-tools": "Read, Glob"}), "x");
        assert_eq!(ours["tools"], json!(["read_file", "list_files"]));
        for restricts in [
            json!({"name": "a", "disallowedTools": "Write, Edit"}),
            json!({"name": "a", "mode": "subagent", "permission": {"edit": "deny", "read": "allow"}}),
        ] {
            let (ours, notes) = mapped(restricts, "x");
            let tools = ours["tools"].as_array().unwrap();
            assert!(tools.contains(&json!("read_file")) && !tools.contains(&json!("write_file")));
            assert!(notes.contains("tools: without "), "{notes}");
        }
        // tools/T14: nothing else tells that it is of another tool.
        let (ours, notes) = mapped(
            json!({"name": "base", "description": "d", "type": "abstract"}),
            "x",
        );
        assert_eq!(ours, json!({"name": "base", "description": "d"}));
        assert!(notes.contains("left out: type"), "{notes}");
        // A provider that there is not would be refused.
        let (ours, notes) = mapped(json!({"name": "a", "mode": "x", "model": "zai/glm-5"}), "x");
        assert_eq!(ours, json!({"name": "a"}));
        assert!(notes.contains("model zai/glm-5"), "{notes}");
    }

    #[test]
    fn what_is_ours_stays_ours() {
        for ours in [
            json!({"name": "a", "tools": ["read_file", "http_*"]}),
            json!({"name": "a", "model": "openai/gpt-5"}),
            json!({"name": "a", "planer": "react"}),
            json!({"name": "a", "tools": {"a": 1}}),
            json!({"name": "A b", "limits": {"max_steps": 3}}),
            json!({"tools": "Read", "policy": {"profile": "strict"}}),
        ] {
            assert!(!is_foreign(ours.as_object().unwrap()), "{ours}");
        }
    }

    #[test]
    fn a_name_becomes_one_of_ours() {
        for (name, wanted) in [
            ("API Architect", "api-architect"),
            ("🚀 Ship -- it!", "ship-it"),
            ("C# / .NET (Janitor)", "c-.net-janitor"),
            ("Über", "ber"),
            ("---", ""),
        ] {
            assert_eq!(slug(name), wanted);
        }
        assert_eq!(slug(&"x".repeat(99)).len(), 64);
    }
}
