//! The commands.

mod agent;
mod approval;
mod backup;
mod bench;
mod budget;
pub(crate) mod completion;
mod configuration;
mod dead_letter;
mod dev;
mod doctor;
mod eval;
mod init;
mod mcp;
mod memory;
mod migrate;
mod process;
mod reconcile;
mod reload;
mod retention;
mod run;
mod schedule;
mod serve;
mod stop;
mod task;
mod tool;
mod worker;

use std::{io::IsTerminal as _, path::PathBuf, time::Duration};

use agentkit::telemetry::TARGET;
use anyhow::{Context as _, Result};
use serde_json::json;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use ops_store::sqlite::{Damage, running_server};

#[cfg(feature = "postgres")]
pub(crate) use self::backup::coded as backup_error;
pub(crate) use self::run::raised_by;
use crate::{
    cli::{self, Cli, Command, Common, ConfigAction},
    config::{self, Config},
    exit::{self, Exit},
    output::{self, show},
    telemetry,
};

/// How long threads that block may go on once the command has ended.
const LAST_THREADS: Duration = Duration::from_secs(2);

/// Runs a command.
pub(crate) fn dispatch(cli: Cli) -> Result<Exit> {
    let Cli { common, command } = cli;
    match command {
        Command::Completion { shell } => {
            completion::script(shell)?;
            Ok(Exit::Ok)
        }
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            if common.json {
                output::json(&json!({"version": version}));
            } else {
                show!("opspawn {version}");
            }
            Ok(Exit::Ok)
        }
        Command::Dev(args) => {
            let mut flags = vec![];
            push(&mut flags, "listen", args.listen.as_ref());
            push(&mut flags, "grpc_listen", args.grpc_listen.as_ref());
            push(&mut flags, "worker.concurrency", args.concurrency.as_ref());
            let config = load(&common, flags)?;
            block_on(dev::dev(&config, &args))
        }
        Command::Serve(args) => {
            let mut flags = vec![];
            push(&mut flags, "listen", args.listen.as_ref());
            push(&mut flags, "grpc_listen", args.grpc_listen.as_ref());
            let config = load(&common, flags)?;
            block_on(serve::serve(&config, &args))
        }
        Command::Worker(args) => {
            let mut flags = vec![];
            push(&mut flags, "worker.concurrency", args.concurrency.as_ref());
            push(
                &mut flags,
                "worker.health_listen",
                args.health_listen.as_ref(),
            );
            let config = load(&common, flags)?;
            block_on(worker::worker(&config))
        }
        Command::Run(args) => {
            let mut flags = vec![];
            push(&mut flags, "model.name", args.model.as_ref());
            let config = load(&common, flags)?;
            block_on(run::run(&config, *args, common.json))
        }
        Command::Task(args) => block_on(task::task(&load_to_ask(&common)?, args, common.json)),
        Command::Agent(args) => block_on(agent::agent(&load_to_ask(&common)?, args, common.json)),
        Command::Tool(args) => {
            let config = match &args {
                cli::Tool::Ls | cli::Tool::Show { .. } => load_to_ask(&common)?,
                cli::Tool::Call { .. } | cli::Tool::New { .. } => load(&common, vec![])?,
            };
            block_on(tool::tool(&config, args, common.json))
        }
        Command::Mcp(args) => {
            let config = match &args {
                cli::Mcp::Ls | cli::Mcp::Diff { .. } | cli::Mcp::Approve { .. } => {
                    load_to_ask(&common)?
                }
                cli::Mcp::Test { .. } | cli::Mcp::Login { .. } => load(&common, vec![])?,
            };
            block_on(mcp::mcp(&config, args, common.json))
        }
        Command::Memory(args) => {
            block_on(memory::memory(&load(&common, vec![])?, args, common.json))
        }
        Command::Eval(args) => block_on(eval::eval(&load(&common, vec![])?, args, common.json)),
        Command::Schedule(args) => block_on(schedule::schedule(
            &load_to_ask(&common)?,
            args,
            common.json,
        )),
        Command::Budget(cli::Budget::Ls) => {
            block_on(budget::ls(&load_to_ask(&common)?, common.json))
        }
        Command::Retention(args) => block_on(retention::retention(
            &load_to_ask(&common)?,
            args,
            common.json,
        )),
        Command::Reconcile(args) => block_on(reconcile::reconcile(
            &load_to_ask(&common)?,
            args,
            common.json,
        )),
        Command::Approval(args) => block_on(approval::approval(
            &load_to_ask(&common)?,
            args,
            common.json,
        )),
        Command::DeadLetter(args) => block_on(dead_letter::dead_letter(
            &load_to_ask(&common)?,
            args,
            common.json,
        )),
        Command::Init { folder } => init::init(&load(&common, vec![])?, &folder, common.json),
        Command::Reload => block_on(reload::reload(&load_to_ask(&common)?, common.json)),
        Command::Stop => block_on(stop::stop(&load_to_ask(&common)?, common.json)),
        Command::Compact => backup::compact(&load(&common, vec![])?, common.json),
        Command::Backup { target } => backup::backup(&load(&common, vec![])?, &target, common.json),
        Command::Restore {
            file,
            accept_damage,
        } => {
            let damage = match accept_damage {
                true => Damage::Accepted,
                false => Damage::Refused,
            };
            backup::restore(&load(&common, vec![])?, &file, damage, common.json)
        }
        Command::Migrate { from } => {
            migrate::migrate(&load(&common, vec![])?, from.as_deref(), common.json)
        }
        Command::Doctor => block_on(doctor::doctor(&load(&common, vec![])?, common.json)),
        Command::Config {
            action: None | Some(ConfigAction::Show),
        } => configuration::show(&load(&common, vec![])?, common.json),
        Command::Bench(args) => {
            load(&common, vec![])?;
            block_on(bench::bench(&args, common.json))
        }
    }
}

fn push<T: ToString>(
    flags: &mut Vec<(&'static str, String)>,
    key: &'static str,
    value: Option<&T>,
) {
    flags.extend(value.map(|value| (key, value.to_string())));
}

fn load(common: &Common, flags: Vec<(&'static str, String)>) -> Result<Config> {
    let (flags, file) = given(common, flags);
    let config = Config::load(&flags, file.as_deref());
    config.and_then(begun).map_err(usage)
}

/// The configuration of a command that only asks a server. A mistake in the file is the server's matter: it keeps no command
/// from a server that runs.
fn load_to_ask(common: &Common) -> Result<Config> {
    let (flags, file) = given(common, Vec::new());
    let error = match Config::load(&flags, file.as_deref()) {
        Ok(config) => return begun(config).map_err(usage),
        Err(error) => error,
    };
    let Ok(config) = Config::without_file(&flags, file.as_deref()) else {
        return Err(usage(error));
    };
    if config.optional("url").is_none() && running_server(&config.data_dir()).is_none() {
        return Err(usage(error));
    }
    let config = begun(config).map_err(usage)?;
    let error = format!("{error:#}");
    output::status!("warning: {}", error.trim_end());
    output::status!("the running server is asked all the same");
    Ok(config)
}

fn usage(error: anyhow::Error) -> anyhow::Error {
    exit::error(Exit::Usage, format!("{error:#}"))
}

/// The values of the command line, and the file that it names.
fn given(
    common: &Common,
    mut flags: Vec<(&'static str, String)>,
) -> (Vec<(&'static str, String)>, Option<PathBuf>) {
    let data = common.data.as_ref();
    flags.extend(data.map(|dir| ("data", dir.display().to_string())));
    flags.extend(common.url.as_ref().map(|url| ("url", url.clone())));
    let file = common
        .config
        .clone()
        .or_else(|| std::env::var_os("OPSPAWN_CONFIG").map(Into::into));
    (flags, file)
}

/// Begins to log as the configuration says, and warns of variables that mean nothing.
fn begun(config: Config) -> Result<Config> {
    log_to_stderr(&config)?;
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let unknown = config::unknown_variables(names);
    for sentence in unknown.into_iter().chain(telemetry::missing(&config)) {
        tracing::warn!("{sentence}");
    }
    Ok(config)
}

fn log_to_stderr(config: &Config) -> Result<()> {
    subscriber(config)?.init();
    Ok(())
}

fn subscriber(config: &Config) -> Result<impl Subscriber + Send + Sync> {
    let filter = config.optional("log").unwrap_or("warn");
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("setting `log`: `{filter}` is not a log filter"))?;
    // The spans of agents are for a collector. In a log they would be made for nobody, and show what
    // the model is asked. (A filter without a hint would have every event looked at.)
    // The client of the broker logs each lost connection as errors of its own; the queue says it once, in a sentence.
    let broker_client = filter.to_string().contains("lapin");
    let no_spans = filter_fn(move |metadata| {
        let target = metadata.target();
        target != TARGET && (broker_client || !target.starts_with("lapin"))
    })
    .with_max_level_hint(LevelFilter::TRACE);
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .with_target(false)
        // Where a line cannot be written, neither can a complaint about it: that would panic.
        .log_internal_errors(false)
        .with_filter(filter.and(no_spans));
    // A layer that is `None` would count as one that wants everything.
    let mut layers = vec![log.boxed()];
    layers.extend(telemetry::layer(config)?);
    Ok(tracing_subscriber::registry().with(layers))
}

fn block_on(command: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let done = runtime.block_on(command);
    // What blocks a thread, such as a query of SQLite within one function, keeps no process from its end.
    runtime.shutdown_timeout(LAST_THREADS);
    done
}

/// Returns when the process is asked to stop: SIGTERM or SIGINT.
pub(crate) async fn stop_requested() -> Result<Exit> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(tokio::select! {
        _ = terminate.recv() => Exit::Ok,
        _ = interrupt.recv() => Exit::Interrupted,
    })
}

#[cfg(test)]
mod tests {
    use tracing::{Level, enabled};

    use super::*;

    #[test]
    fn without_a_collector_no_span_is_made() {
        // The second takes a level that spans have, of something else; the last ones would take
        // spans as well.
        for log in [
            "warn",
            "warn,ops_worker=info",
            "info",
            "warn,agentkit=trace",
        ] {
            let config = Config::load(&[("log", log.to_owned())], None).unwrap();
            tracing::subscriber::with_default(subscriber(&config).unwrap(), || {
                assert!(!enabled!(target: TARGET, Level::INFO), "{log}");
                assert!(enabled!(Level::WARN), "{log}");
            });
        }
    }
}
