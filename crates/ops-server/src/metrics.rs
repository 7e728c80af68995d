//! Counters of the surface, and all metrics that `/metrics` shows, in the Prometheus text format.

use std::{fmt, sync::Arc};

use ops_core::{
    budget::Amount,
    ports::{Counts, McpServerView},
    stats::{BOUNDS, Calls, Stats, Times, Value},
    task::StateName,
};
use ops_engine::{BudgetState, ProviderLine};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric as _, LabelSetEncoder,
        MetricEncoder, NoLabelSet, prometheus_text::encode,
    },
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

pub(crate) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// Counters of the surface itself.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    calls: Family<GrpcCall, Counter>,
    followers: Gauge,
}

/// An answered call of gRPC. Methods and codes are those of the services, whatever clients send.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct GrpcCall {
    /// `package.Service/Method`, or `none`.
    method: Arc<str>,
    /// Such as `OK` and `NOT_FOUND`.
    code: &'static str,
}

impl EncodeLabelSet for GrpcCall {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("method", &*self.method), ("code", self.code)].encode(encoder)
    }
}

/// An answered request. Each part has few values, whatever clients send.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Request {
    method: &'static str,
    /// The template of the path.
    route: Arc<str>,
    status: u16,
}

impl EncodeLabelSet for Request {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let status = self.status.to_string();
        let labels = [
            ("method", self.method),
            ("route", &*self.route),
            ("status", &*status),
        ];
        labels.encode(encoder)
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Request, Counter>::default();
        registry.register(
            "opspawn_http_requests",
            "Answered requests, by route and status",
            requests.clone(),
        );
        let calls = Family::<GrpcCall, Counter>::default();
        registry.register(
            "opspawn_grpc_calls",
            "Answered gRPC calls, by method and code",
            calls.clone(),
        );
        let followers = Gauge::default();
        registry.register("opspawn_followers", "Open event streams", followers.clone());
        Self {
            registry,
            requests,
            calls,
            followers,
        }
    }

    /// Takes note of an answer; without a route if the path has no route.
    pub(crate) fn answered(&self, method: &http::Method, route: Option<Arc<str>>, status: u16) {
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
        let method = known.into_iter().find(|known| *known == method.as_str());
        let request = Request {
            method: method.unwrap_or("other"),
            route: route.unwrap_or_else(|| "none".into()),
            status,
        };
        self.requests.get_or_create(&request).inc();
    }

    /// Takes note of the answer to a gRPC call.
    pub(crate) fn grpc_answered(&self, method: Arc<str>, code: &'static str) {
        self.calls.get_or_create(&GrpcCall { method, code }).inc();
    }

    /// Counts a follower for as long as it lives.
    pub(crate) fn follower(&self) -> Following {
        self.followers.inc();
        Following(self.followers.clone())
    }

    /// The text of all metrics.
    pub(crate) fn text(
        &self,
        tasks: Option<Counts>,
        stats: Stats,
        mcp: Vec<McpServerView>,
        budgets: Vec<BudgetState>,
        lines: Vec<ProviderLine>,
    ) -> String {
        let mut rest = Registry::default();
        rest.register_collector(Box::new(Snapshot {
            tasks,
            stats,
            mcp,
            budgets,
            lines,
            process: Process::read(),
        }));
        let mut out = String::with_capacity(8_192);
        encode(&mut out, &self.registry)
            .and_then(|()| encode(&mut out, &rest))
            .expect("writing to memory does not fail");
        out
    }
}

/// A follower that is counted.
pub(crate) struct Following(Gauge);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Values that are read for an answer.
#[derive(Debug)]
struct Snapshot {
    /// Missing if the database cannot be read.
    tasks: Option<Counts>,
    stats: Stats,
    mcp: Vec<McpServerView>,
    budgets: Vec<BudgetState>,
    lines: Vec<ProviderLine>,
    process: Process,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        if let Some(tasks) = &self.tasks {
            let mut all = describe(out, "opspawn_tasks", "Tasks, by state", MetricType::Gauge)?;
            for state in StateName::ALL {
                let count = tasks.get(&state).copied().unwrap_or(0);
                let labels = [("state", state.as_str())];
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                ConstGauge::new(count).encode(all.encode_family(&labels)?)?;
            }
        }
        let (stats, work) = (&self.stats, &self.stats.work);
        counter(out, "opspawn_submits", "Accepted tasks", work.submits)?;
        calls(out, "opspawn_model_calls", "Model calls", work.model_calls)?;
        calls(out, "opspawn_tool_calls", "Tool calls", work.tool_calls)?;
        let steps = [work.model_calls, work.tool_calls];
        let steps = steps
            .iter()
            .map(|calls| calls.completed + calls.failed)
            .sum();
        counter(
            out,
            "opspawn_steps",
            "Model and tool calls that ended",
            steps,
        )?;
        let usage = &work.usage;
        counter(
            out,
            "opspawn_input_tokens",
            "Tokens in prompts",
            usage.input_tokens,
        )?;
        counter(
            out,
            "opspawn_output_tokens",
            "Tokens in answers",
            usage.output_tokens,
        )?;
        let cost = seconds(usage.cost_micros);
        counter_f64(
            out,
            "opspawn_cost_usd",
            "Price of model calls, where known",
            cost,
        )?;
        let help = "Writes refused because the lease of their writer was over";
        counter(out, "opspawn_stale_writes", help, work.stale_writes)?;
        let help = "Waits of tasks for their turn with a provider";
        counter(out, "opspawn_provider_waits", help, work.provider_waits)?;
        let help = "From ready to claimed by a worker";
        times(out, "opspawn_queue_wait_seconds", help, &work.queue_wait)?;

        for metric in &stats.metrics {
            match &metric.value {
                Value::Counter(count) => counter(out, metric.name, metric.help, *count)?,
                Value::Gauge(count) => {
                    let count = i64::try_from(*count).unwrap_or(i64::MAX);
                    gauge(out, metric.name, metric.help, count)?;
                }
                Value::Times(took) => times(out, metric.name, metric.help, took)?,
            }
        }

        mcp_servers(out, &self.mcp)?;
        budgets(out, &self.budgets)?;
        lines(out, &self.lines)?;

        let process = &self.process;
        let help = "User and system CPU time";
        counter_f64(out, "process_cpu_seconds", help, process.cpu_seconds)?;
        if let Some(bytes) = process.resident_bytes {
            gauge(
                out,
                "process_resident_memory_bytes",
                "Resident memory",
                bytes,
            )?;
        }
        if let Some(open) = process.open_fds {
            gauge(out, "process_open_fds", "Open file descriptors", open)?;
        }
        Ok(())
    }
}

/// How the MCP servers are. There are as many as the file of servers has.
fn mcp_servers(out: &mut DescriptorEncoder<'_>, servers: &[McpServerView]) -> fmt::Result {
    if servers.is_empty() {
        return Ok(());
    }
    let help = "Whether an MCP server answers";
    let mut all = describe(out, "opspawn_mcp_server_ready", help, MetricType::Gauge)?;
    for server in servers {
        let labels = [("server", server.name.as_str())];
        ConstGauge::new(i64::from(server.status == "ready")).encode(all.encode_family(&labels)?)?;
    }
    let help = "Definitions of an MCP server that are held until a person approves them";
    let mut all = describe(out, "opspawn_mcp_held_definitions", help, MetricType::Gauge)?;
    for server in servers {
        let pins = server.pins.iter().flat_map(|pins| &pins.pins);
        let held = pins.filter(|pin| pin.state().is_held()).count();
        let labels = [("server", server.name.as_str())];
        ConstGauge::new(i64::try_from(held).unwrap_or(i64::MAX))
            .encode(all.encode_family(&labels)?)?;
    }
    let help = "Calls of tools of an MCP server, by outcome";
    let mut all = describe(out, "opspawn_mcp_calls", help, MetricType::Counter)?;
    for server in servers {
        let [total, failed, unknown] = server.calls;
        let outcomes = [
            ("completed", total.saturating_sub(failed)),
            ("failed", failed.saturating_sub(unknown)),
            ("unknown", unknown),
        ];
        for (outcome, count) in outcomes {
            let labels = [("server", server.name.as_str()), ("outcome", outcome)];
            ConstCounter::new(count).encode(all.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// How much of each limit of a budget is used: 1 is all. There are as many as the configuration has.
fn budgets(out: &mut DescriptorEncoder<'_>, budgets: &[BudgetState]) -> fmt::Result {
    if budgets.is_empty() {
        return Ok(());
    }
    let help = "The used share of a budget's present window";
    ratios(out, ("opspawn_budget_used_ratio", help), budgets, |state| {
        state.used
    })?;
    let help = "The share of a budget's present window that calls under way have reserved";
    let name = "opspawn_budget_under_way_ratio";
    ratios(out, (name, help), budgets, |state| state.under_way)
}

/// How long a new call of each provider with limits would wait.
fn lines(out: &mut DescriptorEncoder<'_>, lines: &[ProviderLine]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    let help = "How long a new call would wait for its turn by the provider's limits";
    let mut all = describe(
        out,
        "opspawn_provider_line_seconds",
        help,
        MetricType::Gauge,
    )?;
    for line in lines {
        let labels = [("provider", line.limit.provider.as_str())];
        let wait = seconds(u64::try_from(line.wait_micros).unwrap_or(0));
        ConstGauge::new(wait).encode(all.encode_family(&labels)?)?;
    }
    Ok(())
}

fn ratios(
    out: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    budgets: &[BudgetState],
    of: fn(&BudgetState) -> Amount,
) -> fmt::Result {
    let mut all = describe(out, name, help, MetricType::Gauge)?;
    for state in budgets {
        let (most, used) = (state.budget.most, of(state));
        let limits = [
            ("tokens", most.tokens, used.tokens),
            ("cost", most.cost_micros, used.cost_micros),
        ];
        for (limit, most, used) in limits {
            let Some(most) = most else { continue };
            let labels = [("budget", state.budget.name.as_str()), ("limit", limit)];
            // Both as money is shown: a ratio needs no more digits.
            let ratio = seconds(used) / seconds(most.max(1));
            ConstGauge::new(ratio).encode(all.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn describe<'s>(
    out: &'s mut DescriptorEncoder<'_>,
    name: &'s str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'s>, fmt::Error> {
    out.encode_descriptor(name, help, None, kind)
}

fn counter(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(describe(out, name, help, MetricType::Counter)?)
}

fn counter_f64(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstCounter::new(value).encode(describe(out, name, help, MetricType::Counter)?)
}

fn gauge<N>(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: N) -> fmt::Result
where
    N: EncodeGaugeValue + Copy,
{
    ConstGauge::new(value).encode(describe(out, name, help, MetricType::Gauge)?)
}

fn calls(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, calls: Calls) -> fmt::Result {
    let mut all = describe(out, name, help, MetricType::Counter)?;
    for (outcome, count) in [("completed", calls.completed), ("failed", calls.failed)] {
        let labels = [("outcome", outcome)];
        ConstCounter::new(count).encode(all.encode_family(&labels)?)?;
    }
    Ok(())
}

fn times(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, times: &Times) -> fmt::Result {
    let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(times.counts).collect();
    let count = times.counts.iter().sum();
    describe(out, name, help, MetricType::Histogram)?.encode_histogram::<NoLabelSet>(
        seconds(times.sum_micros),
        count,
        &buckets,
        None,
    )
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 microseconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Resources of the process; in part only where there is a /proc.
#[derive(Debug)]
struct Process {
    cpu_seconds: f64,
    resident_bytes: Option<i64>,
    open_fds: Option<i64>,
}

impl Process {
    fn read() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 nanoseconds")]
        let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
            let pages: i64 = statm.split(' ').nth(1)?.parse().ok()?;
            pages.checked_mul(i64::try_from(rustix::param::page_size()).ok()?)
        };
        let open = || {
            let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
            // One of them is the listing itself.
            i64::try_from(open.saturating_sub(1)).ok()
        };
        Self {
            cpu_seconds,
            resident_bytes: resident(),
            open_fds: open(),
        }
    }
}
