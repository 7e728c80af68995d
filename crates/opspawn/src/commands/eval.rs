//! `opspawn eval`: an agent against cases, and one version of it against another.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use agentkit::Definition;
use agentkit_tools::http::Listeners;
use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use ops_agents::Factory;
use ops_core::TenantId;

use super::agent;
use crate::{
    agents, cli,
    client::{self, Client},
    config::Config,
    eval::{
        self,
        file::{File, Source},
        judge::JudgeAgent,
        recording::Recording,
        report::{Line, Report},
    },
    exit::{self, Exit},
    output,
    runtime::Role,
};

/// Evaluates.
pub(super) async fn eval(config: &Config, args: cli::Eval, json: bool) -> Result<Exit> {
    let mut file = eval::file::read(&args.file).map_err(usage)?;
    if let Some(repeat) = args.repeat {
        file.cases.iter_mut().for_each(|case| case.repeat = repeat);
    }
    let mut server = Server {
        config,
        client: None,
    };
    let result = evaluate(config, &args, &file, &mut server, json).await;
    if let Some(client) = server.client {
        client.close().await?;
    }
    result
}

async fn evaluate(
    config: &Config,
    args: &cli::Eval,
    file: &File,
    server: &mut Server<'_>,
    json: bool,
) -> Result<Exit> {
    let factory = agents::factory(config, &Listeners::default(), None)?;
    let here = PathBuf::new();
    let named = match (&args.agent, &file.agent) {
        (Some(named), _) => (named, &here),
        (None, Some(named)) => (named, &file.folder),
        (None, None) => {
            return Err(usage(
                "no agent is named: say --agent FILE|NAME, or write `agent` into the file"
                    .to_owned(),
            ));
        }
    };
    let definition = server.definition(named, None).await?;
    let other = match (&args.baseline, &file.baseline) {
        (Some(other), _) => Some((other, &here)),
        (None, Some(other)) => Some((other, &file.folder)),
        (None, None) => None,
    };
    let baseline = match other {
        Some(other) => Some(server.definition(other, Some(&definition.name)).await?),
        None => None,
    };
    for definition in std::iter::once(&definition).chain(&baseline) {
        if let Some(mistake) = factory.mistakes(definition).into_iter().next() {
            let message = format!("agent `{}`: {}", definition.name, mistake.message);
            return Err(usage(message));
        }
    }
    let judge = judge(&factory, args, file).await?;
    let mut recordings = Vec::with_capacity(file.cases.len());
    for case in &file.cases {
        let recording = match &case.recording {
            None => None,
            Some(Source::File(path)) => Some(Recording::read(path).map_err(usage)?),
            Some(Source::Task(task)) => Some(server.recording(task).await?),
        };
        recordings.push(recording.map(Arc::new));
    }
    let listed = factory.catalogue().listed(TenantId::DEFAULT).into_iter();
    let mut tools: Vec<String> = listed.map(|tool| tool.spec.name.clone()).collect();
    tools.extend(recordings.iter().flatten().flat_map(|one| one.tools()));
    if let Some(unknown) = file.unknown_tool(&tools) {
        return Err(usage(unknown));
    }
    let mut lines = Vec::with_capacity(file.cases.len());
    for (case, recording) in file.cases.iter().zip(recordings) {
        let failed = || format!("case `{}`", case.name);
        let (by, recording) = ((&factory, &judge), recording.as_ref());
        let before = match &baseline {
            Some(other) => Some(
                eval::run(by, other, case, recording)
                    .await
                    .with_context(failed)?,
            ),
            None => None,
        };
        let outcome = eval::run(by, &definition, case, recording).await;
        lines.push(Line {
            case,
            outcome: outcome.with_context(failed)?,
            baseline: before,
        });
    }
    let report = Report {
        agent: &definition,
        baseline: baseline.as_ref(),
        lines,
        transcript: args.transcript,
    };
    if json {
        output::json(&report.json());
    } else {
        report.print();
    }
    Ok(if report.passed() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

/// The judge that the command line or the file names, else the configured model. A mistake in the judge is told before a
/// case runs.
async fn judge(factory: &Factory, args: &cli::Eval, file: &File) -> Result<JudgeAgent> {
    let named = match (&args.judge, &file.judge) {
        (Some(named), _) => Some((named, PathBuf::from(named))),
        (None, Some(named)) => Some((named, file.folder.join(named))),
        (None, None) => None,
    };
    let (judge, about) = match named {
        None => (JudgeAgent::of_model(None), "the judge".to_owned()),
        Some((named, path)) if path.is_file() => (
            JudgeAgent::of(one_of_file(&path)?),
            format!("the judge `{named}`"),
        ),
        Some((named, path)) => {
            let about = format!(
                "the judge `{named}` is no file ({}), nor a model",
                path.display()
            );
            (JudgeAgent::of_model(Some(named)), about)
        }
    };
    if file.cases.iter().any(|case| !case.checks.judge.is_empty()) {
        let checked = judge.check(factory).await;
        checked.map_err(|message| usage(format!("{about}: {message}")))?;
    }
    Ok(judge)
}

fn usage(message: String) -> anyhow::Error {
    exit::error(Exit::Usage, message)
}

/// The server, asked only where a file is not enough.
struct Server<'a> {
    config: &'a Config,
    client: Option<Client>,
}

impl Server<'_> {
    async fn client(&mut self) -> Result<&Client> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(self.config, Role::Answer).await?,
        };
        Ok(self.client.insert(client))
    }

    /// A file, or an agent of the server: `NAME`, `NAME@DIGEST`, or the digest of a version of
    /// `name`. A digest may be cut.
    async fn definition(
        &mut self,
        (named, folder): (&String, &PathBuf),
        name: Option<&str>,
    ) -> Result<Definition> {
        let path = folder.join(named);
        if path.is_file() {
            return one_of_file(&path);
        }
        let client = self.client().await?;
        let hex = named.len() >= 6 && named.bytes().all(|byte| byte.is_ascii_hexdigit());
        let found = match (named.split_once('@'), name) {
            (Some((name, digest)), _) => agent::version(client, name, digest).await,
            (None, Some(name)) if hex => agent::version(client, name, named).await,
            (None, _) => {
                let path = format!("/api/v1/agents/{}", client::escape(named));
                client.get(&path).await
            }
        };
        let found = found.map_err(|error| {
            exit::about(
                &format!(
                    "`{named}` is no file ({}), nor an agent of the server",
                    path.display()
                ),
                &error,
            )
        })?;
        Definition::from_json(&found["definition"])
            .with_context(|| format!("the agent `{named}` of the server cannot be read"))
    }

    async fn recording(&mut self, task: &str) -> Result<Recording> {
        let path = format!("/api/v1/tasks/{}/export", client::escape(task));
        let response = self.client().await?.open(&path).await?;
        let mut text = Vec::new();
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            text.extend_from_slice(&piece.context("the export of the task broke off")?);
        }
        let text = String::from_utf8(text).context("the export of the task is not UTF-8")?;
        Recording::parse(&text).map_err(|message| usage(format!("task {task}: {message}")))
    }
}

fn one_of_file(path: &Path) -> Result<Definition> {
    let mut entries = agent::files::read(path)?;
    let entry = entries.pop().context("a file holds one definition")?;
    Ok(entry.definition)
}
