//! The tool `sql_query`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use agentkit_tools::command::Secrets;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    answer::{Answer, Bounds, Format},
    apart,
    definition::{Definition, Location, Mistake},
    sqlite,
};

/// Time beyond that of a statement, for connecting and for its way.
const GRACE: Duration = Duration::from_secs(15);
/// The most characters of a query.
const MAX_QUERY: usize = 32 << 10;

/// A declared database.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Its name, as calls and policy rules name it.
    pub name: String,
    /// The declaration.
    pub definition: Definition,
    /// The place of the declaration, for messages: the file and its line.
    pub at: String,
}

/// What databases are found by.
#[derive(Clone)]
pub struct Base {
    /// Folder that files are relative to.
    pub folder: PathBuf,
    /// Secrets by name.
    pub secrets: Arc<dyn Secrets>,
    /// Files that no agent may ask, as the server's own database.
    pub withheld: Vec<PathBuf>,
    /// URLs of PostgreSQL databases that no agent may ask, as the server's own database: a lock or a heavy query there
    /// would hold up every task.
    pub withheld_urls: Vec<String>,
    /// The program whose processes run queries of SQLite: it calls [`helper`](crate::helper) first. `None` to run them in
    /// this process, where a query within one function cannot be ended.
    pub helper: Option<PathBuf>,
}

/// The tool: a question to one of its databases.
pub struct SqlQuery {
    spec: ToolSpec,
    databases: Vec<Database>,
}

struct Database {
    name: String,
    definition: Definition,
    source: Source,
    permits: Arc<Semaphore>,
}

enum Source {
    Sqlite {
        /// The file, by a path without links.
        path: PathBuf,
        helper: Option<PathBuf>,
    },
    Postgres {
        /// Name of the secret with the URL.
        url: String,
        secrets: Arc<dyn Secrets>,
        /// See [`Base::withheld_urls`].
        withheld: Vec<String>,
    },
}

#[derive(Deserialize)]
struct Arguments {
    database: String,
    query: String,
    #[serde(default)]
    format: Format,
    max_rows: Option<usize>,
}

impl SqlQuery {
    /// The tool for these databases.
    ///
    /// # Errors
    /// Mistakes of a declaration with its place, absent files included.
    pub fn new(databases: &[Declared], base: &Base) -> Result<Self, Mistake> {
        let made = databases.iter().map(|one| {
            let made = Database::new(one, base);
            made.map_err(|Mistake(why)| {
                Mistake(format!("{}: database `{}`: {why}", one.at, one.name))
            })
        });
        let databases = made.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            spec: spec(&databases),
            databases,
        })
    }

    /// Asks each database whether it answers, for people.
    pub async fn check(&self) -> Vec<(&str, Result<(), Failure>)> {
        let mut checked = Vec::with_capacity(self.databases.len());
        for database in &self.databases {
            let bounds = Bounds {
                rows: 1,
                bytes: 1_024,
            };
            let answer = database.query("SELECT 1".to_owned(), bounds).await;
            checked.push((database.name.as_str(), answer.map(drop)));
        }
        checked
    }
}

impl Database {
    fn new(declared: &Declared, base: &Base) -> Result<Self, Mistake> {
        let definition = declared.definition.clone();
        definition.check()?;
        let source = match definition.place()? {
            Location::File(file) => {
                let path = granted(&base.folder.join(file), &base.withheld)?;
                let helper = base.helper.clone();
                Source::Sqlite { path, helper }
            }
            Location::Server(url) => {
                if !cfg!(feature = "postgres") {
                    return Err(Mistake(
                        "this build knows no PostgreSQL; build opspawn with `--features full`"
                            .to_owned(),
                    ));
                }
                Source::Postgres {
                    url: url.to_owned(),
                    secrets: Arc::clone(&base.secrets),
                    withheld: base.withheld_urls.clone(),
                }
            }
        };
        Ok(Self {
            name: declared.name.clone(),
            permits: Arc::new(Semaphore::new(definition.concurrency as usize)),
            definition,
            source,
        })
    }

    async fn query(&self, sql: String, bounds: Bounds) -> Result<Answer, Failure> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Failure::passing("cancelled", "the tool was closed"))?;
        let timeout = self.definition.timeout;
        match &self.source {
            Source::Sqlite {
                path,
                helper: Some(program),
            } => {
                let _permit = permit;
                apart::query(program, path, &sql, bounds, timeout).await
            }
            Source::Sqlite { path, helper: None } => {
                let abandoned = Arc::new(AtomicBool::new(false));
                let _guard = Abandon(Arc::clone(&abandoned));
                let within = sqlite::Within {
                    bounds,
                    timeout,
                    abandoned,
                };
                let path = path.clone();
                let asked = tokio::task::spawn_blocking(move || {
                    // Held until the thread is free: a call that was given up may still run for a moment.
                    let _permit = permit;
                    sqlite::query(&path, &sql, &within)
                });
                asked.await.unwrap_or_else(|error| {
                    tracing::error!(%error, "a query panicked");
                    Err(Failure::last("query_failed", "the query could not be run"))
                })
            }
            Source::Postgres {
                url,
                secrets,
                withheld,
            } => {
                let _permit = permit;
                let (secrets, name) = (Arc::clone(secrets), url.clone());
                // A source may read files.
                let found = tokio::task::spawn_blocking(move || secrets.get(&name)).await;
                let secret = match found {
                    Ok(Ok(secret)) => secret,
                    Ok(Err(error)) => {
                        return Err(Failure::last("secret_missing", error.to_string()));
                    }
                    Err(_) => return Err(Failure::passing("cancelled", "the secret was not read")),
                };
                self.ask_server(secret.reveal(), withheld, &sql, bounds, timeout)
                    .await
            }
        }
    }

    #[cfg(feature = "postgres")]
    async fn ask_server(
        &self,
        url: &str,
        withheld: &[String],
        sql: &str,
        bounds: Bounds,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let is_withheld = |own: &String| crate::postgres::is_one_database(own, url);
        if withheld.iter().any(is_withheld) {
            return Err(Failure::last(
                "database_unavailable",
                "the URL leads to the server's own database, where a lock or a heavy query would hold up every task: give \
                 agents another database, or a replica",
            ));
        }
        crate::postgres::query(url, sql, bounds, timeout).await
    }

    #[cfg(not(feature = "postgres"))]
    async fn ask_server(
        &self,
        _: &str,
        _: &[String],
        _: &str,
        _: Bounds,
        _: Duration,
    ) -> Result<Answer, Failure> {
        Err(Failure::last(
            "database_unavailable",
            "this build knows no PostgreSQL",
        ))
    }
}

/// Tells the thread of a query that its caller is gone.
struct Abandon(Arc<AtomicBool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The path of a granted file, without links.
fn granted(path: &Path, withheld: &[PathBuf]) -> Result<PathBuf, Mistake> {
    let whole = path.canonicalize().map_err(|error| {
        Mistake(format!(
            "`file` names {}, which cannot be used: {error}",
            path.display()
        ))
    })?;
    if !whole.is_file() {
        return Err(Mistake(format!(
            "`file` names {}, which is no file",
            path.display()
        )));
    }
    let own = withheld.iter().filter_map(|path| path.canonicalize().ok());
    for own in own {
        if own == whole {
            return Err(Mistake(format!(
                "`file` names {}, the server's own database, which holds the tasks of everyone",
                path.display()
            )));
        }
    }
    Ok(whole)
}

fn spec(databases: &[Database]) -> ToolSpec {
    let mut about =
        "Asks a database with one SQL query that only reads, and gives its rows. Databases: "
            .to_owned();
    for (index, database) in databases.iter().enumerate() {
        let (kind, schema) = match &database.source {
            Source::Sqlite { .. } => ("SQLite", "SELECT name, sql FROM sqlite_schema"),
            Source::Postgres { .. } => (
                "PostgreSQL",
                "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns",
            ),
        };
        let between = if index == 0 { "" } else { "; " };
        let _ = write!(
            about,
            "{between}{} ({kind}; `{schema}` shows its tables): {}",
            database.name,
            database.definition.description.trim().trim_end_matches('.')
        );
    }
    let names: Vec<&str> = databases.iter().map(|one| one.name.as_str()).collect();
    let most = databases.iter().map(|one| one.definition.rows).max();
    let timeout = databases.iter().map(|one| one.definition.timeout).max();
    let schema = json!({
        "type": "object",
        "properties": {
            "database": {"type": "string", "enum": names, "description": "The database"},
            "query": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_QUERY,
                "description": "One statement in the database's own SQL, without parameters",
            },
            "format": {
                "type": "string",
                "enum": ["table", "json"],
                "description": "`table`, a text with one line for each row, unless given; or `json` with `columns` and `rows`",
            },
            "max_rows": {
                "type": "integer",
                "minimum": 1,
                "maximum": most.unwrap_or(1),
                "description": "The most rows of the result",
            },
        },
        "required": ["database", "query"],
        "additionalProperties": false,
    });
    // A query changes nothing, so that it may run again after a crash.
    ToolSpec::new("sql_query", &about, schema)
        .effect(Effect::Pure)
        .timeout(timeout.unwrap_or_default() + GRACE)
}

impl Tool for SqlQuery {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, arguments: &Value) -> Resources {
        match arguments["database"].as_str() {
            Some(name) => Resources::reads([Resource::service(&format!("database {name}"))]),
            None => Resources::unknown(Effect::Pure),
        }
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let arguments: Arguments = serde_json::from_value(arguments)
                .map_err(|error| Failure::last("invalid_arguments", error.to_string()))?;
            let found = self
                .databases
                .iter()
                .find(|database| database.name == arguments.database);
            let database = found.ok_or_else(|| {
                let known = self.databases.iter().map(|one| one.name.as_str());
                let hint = units::nearest::hint(&arguments.database, known.collect::<Vec<_>>());
                Failure::last(
                    "invalid_arguments",
                    format!("there is no such database; {hint}"),
                )
            })?;
            let most = database.definition.rows as usize;
            let bounds = Bounds {
                rows: arguments.max_rows.unwrap_or(most).clamp(1, most),
                bytes: usize::try_from(database.definition.bytes).unwrap_or(usize::MAX),
            };
            let answer = database.query(arguments.query, bounds).await?;
            Ok(answer.show(arguments.format).into())
        })
    }
}
