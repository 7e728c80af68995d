//! The tools that an agent may be given, by name.

use std::{collections::BTreeMap, sync::Arc};

use bounded::schema::{Schema, SchemaError};
use serde_json::Value;

use super::{Tool, ToolSpec};

/// The longest name that every model provider takes.
const MAX_NAME: usize = 64;

/// A set of tools, each with its schemas compiled. A clone is cheap.
#[derive(Clone, Default)]
pub struct Registry {
    tools: Arc<BTreeMap<String, Arc<Entry>>>,
    /// Reasons by the names of tools that are there and may not be called.
    held: Arc<BTreeMap<String, String>>,
}

/// A tool and the gate's data about its calls.
pub(super) struct Entry {
    pub(super) tool: Arc<dyn Tool>,
    pub(super) spec: Arc<ToolSpec>,
    pub(super) input: Schema,
    pub(super) output: Option<Schema>,
}

/// Collects the tools of a [`Registry`].
#[derive(Default)]
pub struct RegistryBuilder {
    tools: BTreeMap<String, Arc<Entry>>,
    held: Arc<BTreeMap<String, String>>,
}

/// A tool that cannot be registered, or is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The tool's name is not a name that a model can call.
    #[error("tool name `{name}` is not valid: use 1 to {MAX_NAME} of a-z, A-Z, 0-9, `_` and `-`")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// Another tool has its name.
    #[error("two tools are named `{name}`: rename one or leave it out")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A schema of the tool is not a valid JSON Schema, refers to another document, or is too large.
    #[error("the {schema} of tool `{name}` cannot be used")]
    InvalidSchema {
        /// The tool.
        name: String,
        /// `input_schema` or `output_schema`.
        schema: &'static str,
        /// The mistake in the schema.
        #[source]
        source: SchemaError,
    },
    /// Its arguments are not an object, which every model provider wants.
    #[error("the input_schema of tool `{name}` must say \"type\": \"object\"")]
    NotAnObject {
        /// The tool.
        name: String,
    },
    /// There is no such tool.
    #[error("{}", unknown(name, nearest, known))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// Similar names.
        nearest: Vec<String>,
        /// The first names that there are.
        known: Vec<String>,
    },
    /// The tool is there, and may not be called before a person has approved its definition.
    #[error("{why}")]
    Held {
        /// The name that was asked for.
        name: String,
        /// The reason and the remedy.
        why: String,
    },
}

impl Registry {
    /// An empty registry to fill.
    #[must_use]
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// A registry of these tools.
    ///
    /// # Errors
    /// As [`RegistryBuilder::register`].
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Result<Self, RegistryError> {
        let mut builder = Self::builder();
        for tool in tools {
            builder.register(tool)?;
        }
        Ok(builder.build())
    }

    /// The tool of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(name).map(|entry| &entry.tool)
    }

    /// The tools' specifications, in the order of their names.
    #[must_use]
    pub fn specs(&self) -> Vec<Arc<ToolSpec>> {
        self.tools
            .values()
            .map(|entry| Arc::clone(&entry.spec))
            .collect()
    }

    /// The registry of these tools alone.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] names the first that is not there.
    pub fn subset<S: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self, RegistryError> {
        let mut tools = BTreeMap::new();
        for name in names {
            let name = name.as_ref();
            let entry = self.entry(name)?;
            tools.insert(name.to_owned(), Arc::clone(entry));
        }
        Ok(Self {
            tools: Arc::new(tools),
            held: Arc::clone(&self.held),
        })
    }

    /// The same registry with these tools as well.
    ///
    /// # Errors
    /// As [`RegistryBuilder::register`].
    pub fn with(
        &self,
        tools: impl IntoIterator<Item = Arc<dyn Tool>>,
    ) -> Result<Self, RegistryError> {
        let mut tools = tools.into_iter().peekable();
        if tools.peek().is_none() {
            return Ok(self.clone());
        }
        let mut builder = RegistryBuilder {
            tools: BTreeMap::clone(&self.tools),
            held: Arc::clone(&self.held),
        };
        for tool in tools {
            builder.register(tool)?;
        }
        Ok(builder.build())
    }

    /// The same registry with this tool, in place of a tool of the same name.
    ///
    /// # Errors
    /// As [`RegistryBuilder::register`], but for a name that is taken.
    pub fn replace(&self, tool: Arc<dyn Tool>) -> Result<Self, RegistryError> {
        let mut tools = BTreeMap::clone(&self.tools);
        tools.remove(&tool.spec().name);
        let held = Arc::clone(&self.held);
        let mut builder = RegistryBuilder { tools, held };
        builder.register(tool)?;
        Ok(builder.build())
    }

    /// The same registry, in which a call of one of these names is refused with the reason: the tool is there, and its
    /// definition waits for a person.
    #[must_use]
    pub fn holding(mut self, held: BTreeMap<String, String>) -> Self {
        self.held = Arc::new(held);
        self
    }

    /// Reasons by the names of tools that may not be called.
    #[must_use]
    pub fn held(&self) -> &BTreeMap<String, String> {
        &self.held
    }

    /// Up to three names that are similar to an unknown name.
    fn nearest(&self, name: &str) -> Vec<String> {
        let known = self.tools.keys().map(String::as_str);
        let near = units::nearest::several(name, known, 3);
        near.into_iter().map(str::to_owned).collect()
    }

    pub(super) fn entry(&self, name: &str) -> Result<&Arc<Entry>, RegistryError> {
        self.tools
            .get(name)
            .ok_or_else(|| match self.held.get(name) {
                Some(why) => RegistryError::Held {
                    name: name.to_owned(),
                    why: why.clone(),
                },
                None => RegistryError::Unknown {
                    name: name.chars().take(MAX_NAME).collect(),
                    nearest: self.nearest(name),
                    known: self.tools.keys().take(20).cloned().collect(),
                },
            })
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.tools.keys()).finish()
    }
}

impl RegistryBuilder {
    /// Adds a tool, having compiled its schemas.
    ///
    /// # Errors
    /// If its name is taken or not valid, or a schema is not valid. A `$ref` may only point into the schema
    /// itself: the compiler fetches no document.
    pub fn register(&mut self, tool: Arc<dyn Tool>) -> Result<&mut Self, RegistryError> {
        let spec = Arc::new(tool.spec().clone());
        let name = spec.name.clone();
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(valid) {
            return Err(RegistryError::InvalidName { name });
        }
        if self.tools.contains_key(&name) {
            return Err(RegistryError::Duplicate { name });
        }
        if spec.input_schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(RegistryError::NotAnObject { name });
        }
        let input = compile(&name, "input_schema", &spec.input_schema)?;
        let output = match &spec.output_schema {
            Some(schema) => Some(compile(&name, "output_schema", schema)?),
            None => None,
        };
        self.tools.insert(
            name,
            Arc::new(Entry {
                tool,
                spec,
                input,
                output,
            }),
        );
        Ok(self)
    }

    /// The registry.
    #[must_use]
    pub fn build(self) -> Registry {
        Registry {
            tools: Arc::new(self.tools),
            held: self.held,
        }
    }
}

fn compile(name: &str, schema: &'static str, value: &Value) -> Result<Schema, RegistryError> {
    Schema::compile(value).map_err(|source| RegistryError::InvalidSchema {
        name: name.to_owned(),
        schema,
        source,
    })
}

fn unknown(name: &str, nearest: &[String], known: &[String]) -> String {
    if known.is_empty() {
        return format!("there is no tool `{name}`, nor any other");
    }
    if nearest.is_empty() {
        return format!(
            "there is no tool `{name}`; there are `{}`",
            known.join("`, `")
        );
    }
    format!(
        "there is no tool `{name}`; did you mean `{}`?",
        nearest.join("`, `")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use std::error::Error as _;

    use super::*;
    use crate::{
        BoxFuture,
        event::Failure,
        tool::{ToolContext, ToolOutput},
    };

    struct Named(ToolSpec);

    impl Tool for Named {
        fn spec(&self) -> &ToolSpec {
            &self.0
        }
        fn call<'a>(
            &'a self,
            _: &'a ToolContext,
            arguments: Value,
        ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
            Box::pin(async move { Ok(arguments.into()) })
        }
    }

    fn tool(name: &str, schema: Value) -> Arc<dyn Tool> {
        Arc::new(Named(ToolSpec::new(name, "", schema)))
    }

    fn named(name: &str) -> Arc<dyn Tool> {
        tool(name, json!({"type": "object"}))
    }

    fn refusal(tool: Arc<dyn Tool>) -> RegistryError {
        Registry::new([tool]).unwrap_err()
    }

    #[test]
    fn lists_tools_in_the_order_of_their_names() {
        let registry = Registry::new(["b", "c", "a"].map(named)).unwrap();
        let names: Vec<_> = registry
            .specs()
            .iter()
            .map(|spec| spec.name.clone())
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(registry.get("c").unwrap().spec().name, "c");
        assert!(registry.get("d").is_none());
        assert_eq!(
            format!("{:?}", registry.subset(["c", "a"]).unwrap()),
            r#"{"a", "c"}"#
        );
    }

    #[test]
    fn refuses_names_that_a_model_cannot_call() {
        for name in ["", "a b", "a.b", "ä", "a/b", &"x".repeat(65)] {
            assert!(
                matches!(refusal(named(name)), RegistryError::InvalidName { .. }),
                "{name}"
            );
        }
        assert!(Registry::new([named(&"x".repeat(64)), named("A-b_9")]).is_ok());
    }

    #[test]
    fn refuses_a_second_tool_of_the_same_name() {
        let error = Registry::new([named("echo"), named("echo")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "two tools are named `echo`: rename one or leave it out"
        );
    }

    #[test]
    fn refuses_schemas_that_are_not_valid() {
        let error = refusal(tool("t", json!({"type": "object", "required": "path"})));
        assert_eq!(
            error.to_string(),
            "the input_schema of tool `t` cannot be used"
        );
        assert!(error.source().unwrap().to_string().contains("\"path\""));
        let error = refusal(tool("t", json!({"type": "string"})));
        assert_eq!(
            error.to_string(),
            "the input_schema of tool `t` must say \"type\": \"object\""
        );
        let output = ToolSpec {
            output_schema: Some(json!({"type": "nonsense"})),
            ..ToolSpec::new("t", "", json!({"type": "object"}))
        };
        let error = refusal(Arc::new(Named(output)));
        assert!(
            error
                .to_string()
                .starts_with("the output_schema of tool `t`")
        );
    }

    #[test]
    fn fetches_no_schema() {
        for reference in [
            "https://example.com/s.json",
            "file:///etc/passwd",
            "other.json",
            "http://[::1]/",
        ] {
            let schema = json!({"type": "object", "properties": {"a": {"$ref": reference}}});
            assert!(
                matches!(
                    refusal(tool("t", schema)),
                    RegistryError::InvalidSchema { .. }
                ),
                "{reference}"
            );
        }
        let local = json!({
            "type": "object",
            "$defs": {"a": {"type": "string"}},
            "properties": {"a": {"$ref": "#/$defs/a"}},
        });
        assert!(Registry::new([tool("t", local)]).is_ok());
    }

    #[test]
    fn schemas_that_refer_to_themselves_look_at_a_part_of_the_value_first() {
        let direct = json!({"type": "object", "$ref": "#"});
        let circle = json!({
            "type": "object",
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
            "properties": {"a": {"$ref": "#/$defs/a"}},
        });
        let all = json!({"type": "object", "allOf": [{"$ref": "#"}, {"$ref": "#"}]});
        for schema in [direct, circle, all] {
            assert!(matches!(
                refusal(tool("t", schema)),
                RegistryError::InvalidSchema {
                    source: SchemaError::Circle,
                    ..
                }
            ),);
        }
        let tree = json!({"type": "object", "properties": {"inner": {"$ref": "#"}}});
        assert!(Registry::new([tool("t", tree)]).is_ok());
    }

    #[test]
    fn names_the_nearest_tools() {
        let registry =
            Registry::new(["read_file", "write_file", "list_files", "calculator"].map(named))
                .unwrap();
        for (asked, expected) in [
            (
                "readfile",
                "there is no tool `readfile`; did you mean `read_file`?",
            ),
            (
                "Calculater",
                "there is no tool `Calculater`; did you mean `calculator`?",
            ),
            (
                "file",
                "there is no tool `file`; did you mean `read_file`, `list_files`, `write_file`?",
            ),
            (
                "shell",
                "there is no tool `shell`; there are `calculator`, `list_files`, `read_file`, `write_file`",
            ),
        ] {
            assert_eq!(registry.subset([asked]).unwrap_err().to_string(), expected);
        }
        let long = registry
            .subset(["x".repeat(1_000_000)])
            .unwrap_err()
            .to_string();
        assert!(long.starts_with(&format!("there is no tool `{}`; there are", "x".repeat(64))));
    }
}
