//! One setting.

use super::kind::Kind;

/// A setting.
pub(crate) struct Setting {
    /// Its key in the file, with dots between tables.
    pub(crate) key: &'static str,
    /// Its variable.
    pub(crate) env: &'static str,
    /// Its version-1 variables, which are also taken from `.env`.
    pub(crate) legacy: &'static [&'static str],
    /// What it may hold.
    pub(crate) kind: Kind,
    /// Its value if nothing is said.
    pub(crate) default: Option<&'static str>,
    /// What it does.
    pub(crate) doc: &'static str,
}

/// A setting without version-1 variables.
pub(crate) const fn setting(
    key: &'static str,
    env: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> Setting {
    Setting {
        key,
        env,
        legacy: &[],
        kind,
        default,
        doc,
    }
}

/// A setting that version-1 variables set as well.
pub(super) const fn v1(mut setting: Setting, legacy: &'static [&'static str]) -> Setting {
    setting.legacy = legacy;
    setting
}

/// The database without its pooler.
pub(super) const STORE_NOTIFY_URL: Setting = setting(
    "store.notify_url",
    "OPSPAWN_STORE_NOTIFY_URL",
    Kind::Secret,
    None,
    "the same database without a pooler, for notifications between processes; unless set, `store.url`",
);

/// Address of a worker's health.
pub(super) const HEALTH_LISTEN: Setting = setting(
    "worker.health_listen",
    "OPSPAWN_WORKER_HEALTH_LISTEN",
    Kind::Loopback,
    None,
    "address of `/health`, `/ready` and `/metrics` of `opspawn worker`; none unless set",
);

/// The broker.
pub(super) const QUEUE_URL: Setting = v1(
    setting(
        "queue.url",
        "OPSPAWN_QUEUE_URL",
        Kind::Secret,
        None,
        "the RabbitMQ that wakes workers, as `amqp://USER:PASSWORD@HOST/VHOST`; unless set, the database does so",
    ),
    &["RABBITMQ_URL"],
);

/// The database, where it is not SQLite in the data folder.
pub(super) const STORE_URL: Setting = v1(
    setting(
        "store.url",
        "OPSPAWN_STORE_URL",
        Kind::Secret,
        None,
        "the PostgreSQL database, as `postgres://USER:PASSWORD@HOST/NAME`; unless set, SQLite in the data folder",
    ),
    &["DATABASE_URL"],
);

/// Address of gRPC.
pub(super) const GRPC_LISTEN: Setting = setting(
    "grpc_listen",
    "OPSPAWN_GRPC_LISTEN",
    Kind::Loopback,
    Some("127.0.0.1:50051"),
    "address of gRPC; port 0 picks a free one",
);

/// The largest message of gRPC.
pub(super) const GRPC_MAX_MESSAGE_BYTES: Setting = setting(
    "grpc_max_message_bytes",
    "OPSPAWN_GRPC_MAX_MESSAGE_BYTES",
    Kind::Count,
    Some("4194304"),
    "the largest message of a gRPC client",
);

/// The largest body of REST.
pub(super) const MAX_BODY_BYTES: Setting = setting(
    "max_body_bytes",
    "OPSPAWN_MAX_BODY_BYTES",
    Kind::Count,
    Some("10485760"),
    "the largest request body",
);
