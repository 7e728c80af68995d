//! The tool `sql_query` of this configuration.

use std::{path::PathBuf, sync::Arc};

use agentkit::Tool;
use agentkit_sql::{Base, SqlQuery};
use anyhow::Result;

use crate::{config::Config, secrets::FileAndEnvironment};

/// The tool; none without databases.
///
/// # Errors
/// If a database cannot be used; the message has the line of its declaration.
pub(crate) fn tool(config: &Config) -> Result<Option<Arc<dyn Tool>>> {
    Ok(query(config)?.map(|tool| Arc::new(tool) as _))
}

/// The same, to be asked how its databases are.
pub(crate) fn query(config: &Config) -> Result<Option<SqlQuery>> {
    if config.databases().is_empty() {
        return Ok(None);
    }
    let base = Base {
        folder: config.folder().map_or_else(PathBuf::new, PathBuf::from),
        secrets: Arc::new(FileAndEnvironment::new(config)),
        withheld: vec![config.data_dir().join(ops_store::sqlite::DATABASE_FILE)],
        // The program as it was started, also after another release has taken its place on disk.
        helper: Some(PathBuf::from("/proc/self/exe")),
        withheld_urls: config
            .optional("store.url")
            .map(str::to_owned)
            .into_iter()
            .collect(),
    };
    Ok(Some(SqlQuery::new(config.databases(), &base)?))
}
