//! The commands.

mod agent;
mod approval;
mod backup;
mod bench;
mod configuration;
mod dead_letter;
mod dev;
mod doctor;
mod eval;
mod init;
mod reconcile;
mod retention;
mod run;
mod schedule;
mod stop;
mod task;
mod tool;

use std::io::IsTerminal as _;

use agentkit::telemetry::TARGET;
use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use serde_json::json;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use ops_store::sqlite::Damage;

use crate::{
    cli::{Cli, Command, Common, ConfigAction},
    config::{self, Config},
    exit::{self, Exit},
    output::{self, show},
    telemetry,
};

/// Runs a command.
pub(crate) fn dispatch(cli: Cli) -> Result<Exit> {
    let Cli { common, command } = cli;
    match command {
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "opspawn", &mut script);
            output::raw(&String::from_utf8_lossy(&script));
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
            push(&mut flags, "worker.concurrency", args.concurrency.as_ref());
            let config = load(&common, flags)?;
            block_on(dev::dev(&config, &args))
        }
        Command::Run(args) => {
            let mut flags = vec![];
            push(&mut flags, "model.name", args.model.as_ref());
            let config = load(&common, flags)?;
            block_on(run::run(&config, *args, common.json))
        }
        Command::Task(args) => block_on(task::task(&load(&common, vec![])?, args, common.json)),
        Command::Agent(args) => block_on(agent::agent(&load(&common, vec![])?, args, common.json)),
        Command::Tool(args) => block_on(tool::tool(&load(&common, vec![])?, args, common.json)),
        Command::Eval(args) => block_on(eval::eval(&load(&common, vec![])?, args, common.json)),
        Command::Schedule(args) => block_on(schedule::schedule(
            &load(&common, vec![])?,
            args,
            common.json,
        )),
        Command::Retention(args) => block_on(retention::retention(
            &load(&common, vec![])?,
            args,
            common.json,
        )),
        Command::Reconcile(args) => block_on(reconcile::reconcile(
            &load(&common, vec![])?,
            args,
            common.json,
        )),
        Command::Approval(args) => block_on(approval::approval(
            &load(&common, vec![])?,
            args,
            common.json,
        )),
        Command::DeadLetter(args) => block_on(dead_letter::dead_letter(
            &load(&common, vec![])?,
            args,
            common.json,
        )),
        Command::Init { folder } => init::init(&load(&common, vec![])?, &folder, common.json),
        Command::Stop => block_on(stop::stop(&load(&common, vec![])?, common.json)),
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

fn load(common: &Common, mut flags: Vec<(&'static str, String)>) -> Result<Config> {
    flags.extend(
        common
            .data
            .as_ref()
            .map(|dir| ("data", dir.display().to_string())),
    );
    flags.extend(common.url.as_ref().map(|url| ("url", url.clone())));
    let file = common
        .config
        .clone()
        .or_else(|| std::env::var_os("OPSPAWN_CONFIG").map(Into::into));
    let load = || {
        let config = Config::load(&flags, file.as_deref())?;
        log_to_stderr(&config)?;
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let unknown = config::unknown_variables(names);
        for sentence in unknown.into_iter().chain(telemetry::missing(&config)) {
            tracing::warn!("{sentence}");
        }
        anyhow::Ok(config)
    };
    load().map_err(|error| exit::error(Exit::Usage, format!("{error:#}")))
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
    let no_spans =
        filter_fn(|metadata| metadata.target() != TARGET).with_max_level_hint(LevelFilter::TRACE);
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
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?
        .block_on(command)
}

/// Returns when the process is asked to stop: SIGTERM or SIGINT.
pub(crate) async fn asked_to_stop() -> Result<Exit> {
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
