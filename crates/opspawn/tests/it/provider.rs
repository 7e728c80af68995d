//! What providers say, on each surface, from the answers that agentkit is tested with.

use std::path::PathBuf;

use ops_testkit::Launch;
/// A surface of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    /// The folder of its recorded answers.
    pub(crate) folder: &'static str,
    provider: &'static str,
    model: &'static str,
}

pub(crate) const RESPONSES: Wire = Wire {
    folder: "responses",
    provider: "openai",
    model: "gpt-5",
};

pub(crate) const MESSAGES: Wire = Wire {
    folder: "messages",
    provider: "anthropic",
    model: "claude-opus-5-5",
};

pub(crate) const GENERATE_CONTENT: Wire = Wire {
    folder: "generate_content",
    provider: "google",
    model: "gemini-3.8-flash",
};

pub(crate) const OPENROUTER: Wire = Wire {
    folder: "openrouter",
    provider: "openrouter",
    model: "a/b",
};

impl Wire {
    /// The product, with the provider at this address.
    pub(crate) fn launch(&self, launch: Launch, url: &str, stream: bool) -> Launch {
        let prefix = self.provider.to_ascii_uppercase();
        launch
            .env("OPSPAWN_PROVIDER", self.provider)
            .env("OPSPAWN_MODEL", self.model)
            .env(format!("{prefix}_BASE_URL"), format!("{url}/v1"))
            .env("OPSPAWN_STREAM", stream.to_string())
    }

    /// An answer as the provider sends it.
    pub(crate) fn recorded(&self, case: &str, stream: bool) -> String {
        let kind = if stream { "sse" } else { "json" };
        let root =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../agentkit/tests/fixtures/models");
        std::fs::read_to_string(root.join(self.folder).join(format!("{case}.{kind}"))).unwrap()
    }
}
