//! What a process is there for.

use ops_store::sqlite::Serves;

use crate::exit::{self, Exit};

/// What a process does beside serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `opspawn dev`: a server with a worker.
    Dev,
    /// A server with a worker: the only process on a SQLite database.
    ServeAlone,
    /// A server without a worker: takes tasks and begins scheduled tasks.
    Serve,
    /// A worker without a server.
    Worker,
    /// A command; runs tasks until the command has ended.
    Work,
    /// A command; runs no tasks.
    Answer,
}

impl Role {
    /// What other processes are told of it.
    pub(crate) fn serves(self) -> Serves {
        match self {
            Self::Dev | Self::ServeAlone | Self::Serve => Serves::Server,
            Self::Worker | Self::Work => Serves::Run,
            Self::Answer => Serves::Command,
        }
    }

    /// Whether a worker runs in the process.
    pub(super) fn works(self) -> bool {
        match self {
            Self::Dev | Self::ServeAlone | Self::Worker | Self::Work => true,
            Self::Serve | Self::Answer => false,
        }
    }

    /// Whether the process refuses to start without a model: no person watches its tasks fail.
    pub(super) fn needs_model(self) -> bool {
        match self {
            Self::ServeAlone | Self::Serve | Self::Worker => true,
            Self::Dev | Self::Work | Self::Answer => false,
        }
    }

    /// The field `mode` of `/health`.
    pub(super) fn mode(self) -> &'static str {
        match self {
            // Embedded servers have always said so.
            Self::Dev | Self::Work | Self::Answer => "dev",
            Self::ServeAlone | Self::Serve => "serve",
            Self::Worker => "worker",
        }
    }
}

/// The refusal to start without a model: every task would fail.
pub(super) fn no_provider(role: Role) -> anyhow::Error {
    exit::error(
        Exit::Usage,
        format!(
            "no model is configured (provider_not_configured), and `opspawn {}` does not start without one; set \
             OPENAI_API_KEY, ANTHROPIC_API_KEY, GOOGLE_API_KEY or OPENROUTER_API_KEY, or a base URL such as \
             OPENAI_BASE_URL, or choose the scripted model by name (OPSPAWN_PROVIDER=scripted)",
            role.mode()
        ),
    )
}
