//! Tools that are functions.

use std::{fmt::Display, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Effect, Resources, Tool, ToolContext, ToolOutput, ToolSpec};
use crate::{BoxFuture, event::Failure, schema};

/// A tool that is a function; made by [`function`].
pub struct Function {
    spec: ToolSpec,
    call: Box<Call>,
    resources: Option<Box<NamesResources>>,
}

type NamesResources = dyn Fn(&Value) -> Resources + Send + Sync;

type Call =
    dyn Fn(ToolContext, Value) -> BoxFuture<'static, Result<ToolOutput, Failure>> + Send + Sync;

/// A tool that calls a function. The schema of its input comes from the function's argument, a
/// struct; comments on its fields are descriptions for the model. The model is told what the
/// function returns, or its error.
///
/// The tool is a `write` one unless [`Function::effect`] says that calls may be repeated.
///
/// ```
/// use agentkit::tool::{Effect, Registry, function};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct City {
///     /// Its name in English.
///     city: String,
/// }
///
/// async fn weather(City { city }: City) -> Result<String, String> {
///     match city.as_str() {
///         "Oslo" => Ok("18 degrees".to_owned()),
///         _ => Err(format!("there is no weather station in {city}")),
///     }
/// }
///
/// let tool = function("weather", "The weather in a city.", weather).effect(Effect::Pure);
/// let registry = Registry::new([std::sync::Arc::new(tool) as _])?;
/// let spec = &registry.specs()[0];
/// assert_eq!(spec.input_schema["properties"]["city"]["type"], "string");
/// # Ok::<(), agentkit::tool::RegistryError>(())
/// ```
pub fn function<A, R, E, F, Fut>(name: &str, description: &str, function: F) -> Function
where
    A: DeserializeOwned + JsonSchema,
    R: Serialize,
    E: Display,
    F: Fn(A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    function_in(name, description, move |_, arguments| function(arguments))
}

/// As [`function`], for a function that takes the call's context: its workspace, its time, whether the call
/// is cancelled.
pub fn function_in<A, R, E, F, Fut>(name: &str, description: &str, function: F) -> Function
where
    A: DeserializeOwned + JsonSchema,
    R: Serialize,
    E: Display,
    F: Fn(ToolContext, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    let function = Arc::new(function);
    let call = move |context: ToolContext, arguments: Value| {
        let function = Arc::clone(&function);
        let called: BoxFuture<'static, _> = Box::pin(async move {
            let arguments = serde_json::from_value(arguments).map_err(|error| {
                let message = format!("the arguments cannot be used: {error}");
                Failure::last("invalid_arguments", message)
            })?;
            let returned = function(context, arguments).await;
            let value =
                returned.map_err(|error| Failure::last("tool_failed", error.to_string()))?;
            let content = serde_json::to_value(value).map_err(|error| {
                let message = format!("the result cannot be written as JSON: {error}");
                Failure::last("tool_failed", message)
            })?;
            Ok(ToolOutput::from(content))
        });
        called
    };
    Function {
        spec: ToolSpec::new(name, description, schema::of_arguments::<A>()),
        call: Box::new(call),
        resources: None,
    }
}

impl Function {
    /// With another effect class.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.spec = self.spec.effect(effect);
        self
    }

    /// With another timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.spec = self.spec.timeout(timeout);
        self
    }

    /// With the resources that a call reads and writes, from its arguments. Without them, its calls
    /// run in the model's order, as they may touch everything (see [`Tool::resources`]).
    ///
    /// ```
    /// # use agentkit::tool::{Effect, Resource, Resources, function};
    /// # #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// # struct City { city: String }
    /// # async fn weather(City { city }: City) -> Result<String, String> { Ok(city) }
    /// // Two of its calls may be under way at once: they only read.
    /// let tool = function("weather", "The weather in a city.", weather)
    ///     .effect(Effect::Idempotent)
    ///     .resources(|_| Resources::reads([Resource::service("weather")]));
    /// ```
    #[must_use]
    pub fn resources(
        mut self,
        resources: impl Fn(&Value) -> Resources + Send + Sync + 'static,
    ) -> Self {
        self.resources = Some(Box::new(resources));
        self
    }
}

impl Tool for Function {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, arguments: &Value) -> Resources {
        match &self.resources {
            Some(resources) => resources(arguments),
            None => Resources::unknown(self.spec.effect),
        }
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        (self.call)(context.clone(), arguments)
    }
}
