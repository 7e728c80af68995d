//! `opspawn run`.

use std::path::PathBuf;

use clap::{Args, builder::NonEmptyStringValueParser};

use super::values::{duration, usd};

#[derive(Debug, Clone, Args)]
pub(crate) struct Run {
    /// What the agent is to do; `-` reads it from standard input
    #[arg(required_unless_present_any = ["example", "input"])]
    pub(crate) goal: Option<String>,
    /// Run an example that comes with the program
    #[arg(long, value_name = "NAME", conflicts_with = "goal")]
    pub(crate) example: Option<String>,
    /// The agent that works on it, of those that `opspawn agent ls` lists
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) agent: Option<String>,
    /// Submit, print the task id, and do not wait (needs a running server)
    #[arg(long)]
    pub(crate) detach: bool,
    /// A field of the task's input: KEY=VALUE, a JSON object, or @FILE with one; may be repeated
    #[arg(long, value_name = "KEY=VALUE|JSON|@FILE")]
    pub(crate) input: Vec<String>,
    /// A text file that the workspace begins with, under its own name or NAME; may be repeated
    #[arg(long = "file", value_name = "[NAME=]FILE")]
    pub(crate) files: Vec<String>,
    /// The task's name
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// A label to find the task by; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// The model, with or without its provider
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) model: Option<String>,
    /// The planner: react, react_text, plan_execute or placeholder
    #[arg(long, value_name = "NAME")]
    pub(crate) planner: Option<String>,
    /// An image that the model is shown: a PNG, JPEG, GIF or WebP file, or its URL; may be repeated
    #[arg(long = "image", value_name = "FILE|URL")]
    pub(crate) images: Vec<String>,
    /// A file with a JSON Schema; the answer is JSON that matches it
    #[arg(long, value_name = "FILE")]
    pub(crate) output_schema: Option<PathBuf>,
    /// The longest that the task may take, such as 90s or 1h30m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<String>,
    /// The longest that the task may wait for its first start
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) queue_timeout: Option<String>,
    /// The most steps that it may take
    #[arg(long, value_name = "N")]
    pub(crate) max_steps: Option<u32>,
    /// Input and output tokens of the task at the most
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u64>,
    /// The most USD that its model calls may cost, such as 0.25; a model whose price is not known fails the task
    #[arg(long, value_name = "USD", value_parser = usd)]
    pub(crate) max_cost_usd: Option<u64>,
    /// What it does where a limit is used up
    #[arg(long, value_name = "WHAT", value_parser = ["fail", "wait"])]
    pub(crate) on_exhausted: Option<String>,
    /// 0 to 9; tasks of a higher priority go first
    #[arg(long, value_name = "N")]
    pub(crate) priority: Option<u8>,
    /// The queue that the task waits in
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Tasks of the same key run one after the other
    #[arg(long, value_name = "KEY")]
    pub(crate) concurrency_key: Option<String>,
    /// Submitting with the same key again finds the same task
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}
