//! Instructions are a [minijinja](https://docs.rs/minijinja) template; a name that is not defined is
//! an error. They are written once, when a run begins, and recorded with it.

use std::collections::BTreeMap;

use minijinja::{Environment, ErrorKind};
use serde::Serialize;
use serde_json::Value;
use units::nearest;

use super::Definition;
use crate::{event::Failure, template};

const NAME: &str = "instructions";
/// What a template may speak of.
pub(super) const KNOWN: &[&str] = &["agent", "goal", "input", "task", "date", "tools", "agents"];

/// What instructions may speak of.
#[derive(Debug, Clone, Serialize)]
pub struct Scene {
    /// What the run is to do.
    pub goal: String,
    /// What the task was submitted with.
    pub input: Value,
    /// The task.
    pub task: SceneTask,
    /// The day on which the run began, in UTC: `2026-01-31`.
    pub date: String,
    /// The names of its tools.
    pub tools: Vec<String>,
}

/// A task as instructions may speak of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SceneTask {
    /// Its id.
    pub id: String,
    /// Its name; empty for none.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Context<'a> {
    agent: &'a str,
    agents: &'a [String],
    #[serde(flatten)]
    scene: &'a Scene,
}

/// Whether a text, which begins on this line of its file, is a template that speaks of nothing unknown.
pub(super) fn check(text: &str, first_line: usize) -> Result<(), String> {
    let explain = |error| explain(&error, first_line);
    let environment = environment(text).map_err(explain)?;
    let template = environment.get_template(NAME).map_err(explain)?;
    let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    names.sort_unstable();
    let globals: Vec<String> = environment
        .globals()
        .map(|(name, _)| name.to_owned())
        .collect();
    let stranger = names
        .into_iter()
        .find(|name| !KNOWN.contains(&name.as_str()) && !globals.contains(name));
    let Some(stranger) = stranger else {
        return Ok(());
    };
    let hint = nearest::hint(&stranger, KNOWN.iter().copied());
    Err(format!("there is no variable `{stranger}`; {hint}"))
}

impl Definition {
    /// The instructions of a run.
    ///
    /// # Errors
    /// `invalid_instructions` names what the scene does not have.
    pub fn instructions(&self, scene: &Scene) -> Result<String, Failure> {
        if !self.is_template() {
            return Ok(self.instructions.clone());
        }
        let context = Context {
            agent: &self.name,
            agents: &self.agents,
            scene,
        };
        let failed = |error: minijinja::Error| {
            if error.kind() == ErrorKind::OutOfFuel {
                let message = format!(
                    "the instructions of agent `{}` take too long to write; loop over less",
                    self.name
                );
                return Failure::last("invalid_instructions", message);
            }
            let missing = missing(&self.instructions, &context);
            let what = match missing.as_slice() {
                [] => explain(&error, 1),
                missing => format!("`{}` is not defined", missing.join("`, `")),
            };
            Failure::last(
                "invalid_instructions",
                format!(
                    "the instructions of agent `{}` cannot be written: {what}; give it with the \
                     task's input, or allow for its absence with `is defined`",
                    self.name
                ),
            )
        };
        let environment = environment(&self.instructions).map_err(failed)?;
        let scene = serde_json::to_value(&context).unwrap_or_default();
        template::render(&environment, NAME, template::from_json(&scene)).map_err(failed)
    }
}

fn environment(text: &str) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = template::environment();
    template::add(&mut environment, NAME, text)?;
    Ok(environment)
}

fn explain(error: &minijinja::Error, first_line: usize) -> String {
    let line = error
        .line()
        .map(|line| format!(" (line {})", first_line + line - 1));
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    format!("{what}{}", line.unwrap_or_default())
}

/// The names that a template speaks of and the context does not have.
fn missing(text: &str, context: &Context<'_>) -> Vec<String> {
    let Ok(environment) = environment(text) else {
        return Vec::new();
    };
    let Ok(template) = environment.get_template(NAME) else {
        return Vec::new();
    };
    let known = serde_json::to_value(context).unwrap_or_default();
    let mut missing: Vec<String> = template
        .undeclared_variables(true)
        .into_iter()
        .filter(|name| {
            let root = name.split('.').next().unwrap_or_default();
            let pointer = format!("/{}", name.replace('.', "/"));
            KNOWN.contains(&root) && known.pointer(&pointer).is_none()
        })
        .collect();
    missing.sort_unstable();
    missing
}
