//! Settings of tools.

use super::super::{
    kind::Kind,
    setting::{Setting, setting},
};

pub(super) const HTTP_ALLOW: Setting = setting(
    "tools.http.allow",
    "OPSPAWN_HTTP_ALLOW",
    Kind::Networks,
    None,
    "hosts, addresses and networks that the HTTP tools may reach although they are not public",
);
pub(super) const HTTP_MAX_BYTES: Setting = setting(
    "tools.http.max_bytes",
    "OPSPAWN_HTTP_MAX_BYTES",
    Kind::Count,
    Some("10485760"),
    "the most bytes of a body that the HTTP tools read",
);
pub(super) const HTTP_TIMEOUT: Setting = setting(
    "tools.http.timeout",
    "OPSPAWN_HTTP_TIMEOUT",
    Kind::DurationFrom("1ms"),
    Some("30s"),
    "the longest that a call of the HTTP tools may take",
);
pub(super) const START_TIMEOUT: Setting = setting(
    "tools.start_timeout",
    "OPSPAWN_TOOLS_START_TIMEOUT",
    Kind::Duration,
    Some("30s"),
    "how long a run waits for a source of tools that its agent names",
);
pub(super) const SANDBOX_CONCURRENCY: Setting = setting(
    "sandbox.concurrency",
    "OPSPAWN_SANDBOX_CONCURRENCY",
    Kind::Count,
    Some("32"),
    "programs that run in the sandbox at once, 200 at the most; later calls wait",
);
pub(super) const SECRETS: Setting = setting(
    "secrets.file",
    "OPSPAWN_SECRETS",
    Kind::Text,
    None,
    "the file with secrets of tools, lines like `NAME=value`; `secrets.env` in the data folder, if it is there",
);
