//! Settings of memory: of the conversation within a run, and of facts that outlive runs.

use super::super::{
    kind::Kind,
    setting::{Setting, setting, v1},
};

pub(super) const COMPACT_AT: Setting = setting(
    "memory.compact_at",
    "OPSPAWN_MEMORY_COMPACT_AT",
    Kind::Percent,
    Some("80"),
    "the share of the context, in per cent, at which the conversation is made smaller",
);
pub(super) const KEEP_EXCHANGES: Setting = setting(
    "memory.keep_exchanges",
    "OPSPAWN_MEMORY_KEEP_EXCHANGES",
    Kind::Count,
    Some("6"),
    "the newest exchanges that stay whole then",
);
pub(super) const SUMMARISE: Setting = setting(
    "memory.summarise",
    "OPSPAWN_MEMORY_SUMMARISE",
    Kind::Switch,
    Some("true"),
    "whether the model sums up the older part; if not, it is left out",
);
pub(super) const PROVIDER: Setting = v1(
    setting(
        "memory.provider",
        "OPSPAWN_MEMORY_PROVIDER",
        Kind::Choice(&["none", "embedded"]),
        Some("none"),
        "long-term memory of every agent: `embedded` keeps facts in `memory.db` of the data folder; with `none`, agents \
         have it whose definition says so",
    ),
    &["AGENTKIT_LTM_PROVIDER"],
);
pub(super) const EMBEDDER: Setting = setting(
    "memory.embedder",
    "OPSPAWN_MEMORY_EMBEDDER",
    Kind::Choice(&["none", "openai", "local"]),
    Some("none"),
    "what makes vectors of facts: `openai` for an endpoint like OpenAI's, `local` for a model2vec folder; with `none`, \
     words alone find facts",
);
pub(super) const URL: Setting = setting(
    "memory.embedder_url",
    "OPSPAWN_MEMORY_EMBEDDER_URL",
    Kind::Text,
    None,
    "base URL of that endpoint; unless set, `openai.base_url`, and OpenAI's own",
);
pub(super) const KEY: Setting = setting(
    "memory.embedder_key",
    "OPSPAWN_MEMORY_EMBEDDER_KEY",
    Kind::Secret,
    None,
    "the key for that endpoint; unless set, `openai.api_key`, if `memory.embedder_url` is not set",
);
pub(super) const MODEL: Setting = setting(
    "memory.embedder_model",
    "OPSPAWN_MEMORY_EMBEDDER_MODEL",
    Kind::Text,
    Some("text-embedding-3-small"),
    "the model of that endpoint",
);
pub(super) const DIMENSIONS: Setting = setting(
    "memory.embedder_dimensions",
    "OPSPAWN_MEMORY_EMBEDDER_DIMENSIONS",
    Kind::Count,
    None,
    "numbers of a vector to ask that endpoint for; unless set, the model's own",
);
pub(super) const PATH: Setting = setting(
    "memory.embedder_path",
    "OPSPAWN_MEMORY_EMBEDDER_PATH",
    Kind::Text,
    None,
    "the folder of a model2vec model, for `local`",
);
pub(super) const MAX_FACTS: Setting = setting(
    "memory.max_facts",
    "OPSPAWN_MEMORY_MAX_FACTS",
    Kind::Count,
    Some("1000000"),
    "facts of one namespace at the most",
);
