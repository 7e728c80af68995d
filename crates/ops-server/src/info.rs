//! The server's description of itself.

use serde::Serialize;
use utoipa::ToSchema;

/// Facts that are fixed at the start; `/health` and `/api/v1/info` show them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ServerInfo {
    /// The release.
    pub version: String,
    /// The role, for instance `dev` or `serve`.
    pub mode: String,
    /// The model that agents use unless a task says otherwise.
    pub model: ModelInfo,
    /// The store of the tasks, for instance `sqlite`.
    pub storage: String,
    /// How far an acknowledged write is from being lost, for instance `full` or `ephemeral`.
    pub durability: String,
    /// The data folder, if the server has a data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
    /// What everything that shows a result must say, for instance that the model is no LLM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// The configured model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelInfo {
    /// Its provider, for instance `openai` or `scripted`.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// Whether the model is a language model; the scripted model is not.
    pub is_llm: bool,
}

/// The answer of `/health`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health<'a> {
    /// `ok`.
    status: &'static str,
    /// The release.
    version: &'a str,
    /// The role.
    mode: &'a str,
    #[schema(inline = false)]
    model: &'a ModelInfo,
    /// How far an acknowledged write is from being lost.
    durability: &'a str,
    /// That no LLM is in use, if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<&'a str>,
}

impl ServerInfo {
    /// The answer of `/health`.
    pub(crate) fn health(&self) -> Vec<u8> {
        crate::json::to_vec(&Health {
            status: "ok",
            version: &self.version,
            mode: &self.mode,
            model: &self.model,
            durability: &self.durability,
            notice: self.notice.as_deref(),
        })
    }
}
