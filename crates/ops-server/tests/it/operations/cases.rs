//! One case for each operation.

use ops_core::{
    Append, ApprovalDetails, Escalation, Micros, NewApproval, Next, Preview, PreviewOutcome,
    RunCommand, TenantId, WaitRequest, event::StepStatus, ports::RunStore as _,
};
use serde_json::{Value, json};

use crate::{
    harness::{App, event},
    mcp,
};

/// A request; its method is the operation's.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// A request that is answered as the operation says, and others that are refused with this status
/// and code.
pub(super) struct Case {
    pub(super) good: Call,
    pub(super) bad: Vec<(Call, u16, &'static str)>,
}

const NO_TASK: &str = "task_6ba7b810-9dad-41d1-80b4-00c04fd430c8";

fn at(path: impl Into<String>) -> Call {
    Call {
        path: path.into(),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

impl Call {
    fn json(mut self, body: &Value) -> Self {
        self.headers
            .push(("content-type", "application/json".into()));
        self.body = body.to_string().into_bytes();
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn refused(self, status: u16, code: &'static str) -> (Self, u16, &'static str) {
        (self, status, code)
    }
}

impl Case {
    fn new(good: Call, bad: impl IntoIterator<Item = (Call, u16, &'static str)>) -> Self {
        Self {
            good,
            bad: bad.into_iter().collect(),
        }
    }
}

/// The case of an operation, with the records that it needs in the store.
pub(super) async fn of(app: &App, operation: &str) -> Case {
    match operation {
        "submit_task" => {
            app.agents(&["a"]).await;
            let whole = json!({
                "task_type": "echo", "input_data": {"prompt": "hi"}, "name": "n", "agent_id": "a",
                "prompt": "hi", "goal": "hi", "inject_mcp_proxy": true,
                "agent_config": {"llm_provider": "non_existent_provider"},
                "priority": 9, "run_at": "2025-04-12T10:00:00Z", "labels": {"team": "x"},
                "limits": {"max_steps": 5, "max_tokens": 9, "timeout": "5m"},
                "retry": {"max_attempts": 2, "backoff": 0.5}, "request_id": "k",
                "concurrency_key": "customer-7", "queue": "default",
            });
            let tasks = || at("/api/v1/tasks");
            Case::new(
                tasks().json(&whole),
                [
                    tasks().json(&json!({})).refused(422, "invalid_body"),
                    tasks()
                        .json(&json!({"task_type": "no"}))
                        .refused(422, "unknown_task_type"),
                    tasks()
                        .json(&json!({"task_type": "echo", "queue": "no"}))
                        .refused(422, "unknown_queue"),
                    tasks()
                        .json(&json!({"task_type": "echo", "agent_id": "b"}))
                        .refused(422, "unknown_agent"),
                    tasks()
                        .header("content-type", "text/csv")
                        .refused(415, "unsupported_media_type"),
                ],
            )
        }
        "submit_tasks" => {
            let batch = || at("/api/v1/tasks:batch");
            let good = json!({"tasks": [
                {"task_type": "echo", "request_id": "a"}, {"task_type": "no"}, 7,
                {"task_type": "echo", "request_id": "a"},
            ]});
            let many = vec![json!({"task_type": "echo"}); 501];
            Case::new(
                batch().json(&good),
                [
                    batch()
                        .json(&json!({"tasks": []}))
                        .refused(422, "invalid_body"),
                    batch()
                        .json(&json!({"tasks": many}))
                        .refused(422, "invalid_body"),
                    batch()
                        .json(&json!({"tasks": {}}))
                        .refused(422, "invalid_body"),
                    batch().json(&json!({})).refused(422, "invalid_body"),
                    batch()
                        .json(&good)
                        .header("idempotency-key", "k")
                        .refused(422, "invalid_body"),
                ],
            )
        }
        "list_tasks" => {
            one_of_each_end(app).await;
            let tasks = |query: &str| at(format!("/api/v1/tasks{query}"));
            Case::new(
                tasks("?limit=5"),
                [
                    tasks("?limit=0").refused(422, "invalid_query"),
                    tasks("?cursor=abc").refused(422, "invalid_query"),
                ],
            )
        }
        "get_task" => {
            let task = |id: &str| at(format!("/api/v1/tasks/{id}"));
            Case::new(
                task(&in_doubt(app).await),
                [task(NO_TASK).refused(404, "task_not_found")],
            )
        }
        "cancel_task" => {
            let cancel = |id: &str| at(format!("/api/v1/tasks/{id}/cancel"));
            let done = ended(app).await;
            Case::new(
                cancel(&app.echo().await),
                [
                    cancel(NO_TASK).refused(404, "task_not_found"),
                    cancel(&done).refused(409, "task_final"),
                ],
            )
        }
        "retry_task" => {
            let retry = |id: &str| at(format!("/api/v1/tasks/{id}/retry"));
            let done = ended(app).await;
            Case::new(
                retry(&done),
                [
                    retry(NO_TASK).refused(404, "task_not_found"),
                    retry(&app.echo().await).refused(409, "task_not_final"),
                ],
            )
        }
        "pause_task" | "resume_task" => {
            let verb = operation.split('_').next().unwrap();
            let path = |id: &str| at(format!("/api/v1/tasks/{id}/{verb}"));
            let done = ended(app).await;
            Case::new(
                path(&app.echo().await),
                [
                    path(NO_TASK).refused(404, "task_not_found"),
                    path(&done).refused(409, "task_final"),
                ],
            )
        }
        "limit_task" => {
            let limit = |id: &str| at(format!("/api/v1/tasks/{id}/limits"));
            let body = json!({
                "max_steps": 9, "max_tokens": 5000, "max_cost_usd": 0.5, "timeout": "5m",
            });
            let done = ended(app).await;
            let id = app.echo().await;
            let wrong = |body: Value| limit(&id).json(&body).refused(422, "invalid_body");
            Case::new(
                limit(&id).json(&body),
                [
                    limit(NO_TASK).json(&body).refused(404, "task_not_found"),
                    limit(&done).json(&body).refused(409, "task_final"),
                    wrong(json!({})),
                    wrong(json!({"max_steps": 0})),
                    wrong(json!({"max_tokens": "many"})),
                    wrong(json!({"timeout": -1})),
                ],
            )
        }
        "signal_task" => {
            let signal = |id: &str| at(format!("/api/v1/tasks/{id}/signals"));
            let body = json!({"name": "go", "payload": {"answer": "yes"}});
            let answer = json!({"name": "human.call_4", "payload": "yes"});
            let done = ended(app).await;
            let id = app.echo().await;
            Case::new(
                signal(&id).json(&body),
                [
                    signal(NO_TASK).json(&body).refused(404, "task_not_found"),
                    signal(&done).json(&body).refused(409, "task_final"),
                    signal(&done).json(&answer).refused(409, "task_final"),
                    signal(&id).json(&answer).refused(409, "question_not_open"),
                    signal(&id).json(&json!({})).refused(422, "invalid_body"),
                    signal(&id)
                        .json(&json!({"name": ""}))
                        .refused(422, "invalid_body"),
                ],
            )
        }
        "rerun_task" => {
            let rerun = |id: &str| at(format!("/api/v1/tasks/{id}/rerun"));
            let id = in_doubt(app).await;
            let whole = json!({
                "from_step": 1, "input": {"to": "b"}, "message": null, "input_data": null,
            });
            let wrong = |body: Value| rerun(&id).json(&body).refused(422, "invalid_body");
            Case::new(
                rerun(&id).json(&whole),
                [
                    rerun(NO_TASK).json(&whole).refused(404, "task_not_found"),
                    rerun(&id)
                        .json(&json!({"from_step": 9}))
                        .refused(409, "cannot_rerun"),
                    wrong(json!({"from_step": 0})),
                    wrong(json!({"from_step": 1, "message": "hi"})),
                    wrong(json!({"input": {}})),
                    wrong(json!({"from_step": 1, "input_data": {}})),
                    wrong(json!({"input_data": 7})),
                ],
            )
        }
        "list_approvals" => {
            asking(app).await;
            let list = |query: &str| at(format!("/api/v1/approvals{query}"));
            Case::new(
                list(&format!("?status=all&task_id={NO_TASK}&limit=5")),
                [
                    list("?status=open").refused(422, "invalid_query"),
                    list("?task_id=7").refused(422, "invalid_query"),
                    list("?cursor=x").refused(422, "invalid_query"),
                ],
            )
        }
        "get_approval" => {
            let id = asking(app).await;
            let get = |id: &str, step: &str| at(format!("/api/v1/approvals/{id}/{step}"));
            Case::new(
                get(&id, "1"),
                [
                    get(NO_TASK, "1").refused(404, "approval_not_found"),
                    get(&id, "2").refused(404, "approval_not_found"),
                    get(&id, "x").refused(404, "approval_not_found"),
                ],
            )
        }
        "approve_step" | "deny_step" | "edit_step" => {
            let id = asking(app).await;
            let verb = operation.split('_').next().unwrap();
            let path = |id: &str| at(format!("/api/v1/approvals/{id}/1/{verb}"));
            let mut body = json!({"revision": 1, "by": "ann"});
            // Only an edit leaves it open.
            let mut late = "approval_decided";
            match verb {
                "deny" => body["reason"] = "not on a Friday".into(),
                "edit" => {
                    body["input"] = json!({"to": "bob"});
                    late = "approval_changed";
                }
                _ => {}
            }
            let mut nobody = body.clone();
            nobody["by"] = "".into();
            let mut wrong = vec![nobody];
            match verb {
                "deny" => wrong.push(json!({"by": "ann"})),
                "edit" => wrong.push(json!({"input": {"to": 7}})),
                _ => {}
            }
            let wrong = wrong.into_iter().map(|body| path(&id).json(&body));
            let mut bad: Vec<_> = wrong
                .map(|call| call.refused(422, "invalid_body"))
                .collect();
            bad.push(path(&id).json(&body).refused(409, late));
            bad.push(path(NO_TASK).json(&body).refused(404, "task_not_found"));
            if verb == "edit" {
                bad.pop();
                bad.push(path(NO_TASK).json(&body).refused(404, "approval_not_found"));
            }
            Case::new(path(&id).json(&body), bad)
        }
        "list_dead_letters" => {
            dead(app).await;
            let list = |query: &str| at(format!("/api/v1/dead-letters{query}"));
            Case::new(
                list("?limit=5"),
                [list("?limit=0").refused(422, "invalid_query")],
            )
        }
        "redrive_task" => {
            let redrive = |id: &str| at(format!("/api/v1/dead-letters/{id}/redrive"));
            let done = ended(app).await;
            Case::new(
                redrive(&dead(app).await),
                [
                    redrive(NO_TASK).refused(404, "task_not_found"),
                    redrive(&done).refused(409, "not_dead_letter"),
                ],
            )
        }
        "cancel_tasks" | "pause_tasks" | "resume_tasks" => {
            let id = first(app).await;
            let verb = operation.split('_').next().unwrap();
            let many = |query: &str| at(format!("/api/v1/tasks:{verb}{query}"));
            Case::new(
                many(&format!("?q={id}&limit=5&dry_run=false")),
                [
                    many("").refused(422, "invalid_query"),
                    many("?limit=5&dry_run=true").refused(422, "invalid_query"),
                    many("?state=failed").refused(422, "invalid_query"),
                    many("?state=pending&limit=0").refused(422, "invalid_query"),
                    many("?state=pending&dry_run=perhaps").refused(422, "invalid_query"),
                    many("?state=pending&cursor=x").refused(422, "invalid_query"),
                ],
            )
        }
        "redrive_tasks" => {
            dead(app).await;
            let redrive = || at("/api/v1/dead-letters:redrive");
            Case::new(
                redrive().json(&json!({"limit": 5, "dry_run": false})),
                [redrive()
                    .json(&json!({"limit": 0}))
                    .refused(422, "invalid_body")],
            )
        }
        "list_steps" => {
            let steps = |id: &str| at(format!("/api/v1/tasks/{id}/steps"));
            let id = in_doubt(app).await;
            Case::new(
                steps(&id),
                [
                    steps(NO_TASK).refused(404, "task_not_found"),
                    at(format!("/api/v1/tasks/{id}/steps?cursor=e1")).refused(422, "invalid_query"),
                ],
            )
        }
        "get_prompt" => {
            let prompt =
                |id: &str, step: &str| at(format!("/api/v1/tasks/{id}/steps/{step}/prompt"));
            let id = in_doubt(app).await;
            Case::new(
                prompt(&id, "1"),
                [
                    prompt(NO_TASK, "1").refused(404, "task_not_found"),
                    prompt(&id, "7").refused(404, "step_not_found"),
                    prompt(&id, "x").refused(404, "step_not_found"),
                    prompt(&id, "2").refused(409, "prompt_unavailable"),
                ],
            )
        }
        "list_events" => {
            let events = |id: &str| at(format!("/api/v1/tasks/{id}/events"));
            let id = in_doubt(app).await;
            Case::new(
                events(&id),
                [
                    events(NO_TASK).refused(404, "task_not_found"),
                    at(format!("/api/v1/tasks/{id}/events?after=-1")).refused(422, "invalid_query"),
                ],
            )
        }
        "export_task" => {
            let export = |id: &str| at(format!("/api/v1/tasks/{id}/export"));
            Case::new(
                export(&in_doubt(app).await),
                [export(NO_TASK).refused(404, "task_not_found")],
            )
        }
        "list_mcp_servers" => {
            mcp::list(app, &[("a", '1')]).await;
            let list = |query: &str| at(format!("/api/v1/mcp/servers{query}"));
            Case::new(list(""), [list("?x=1").refused(422, "invalid_query")])
        }
        "get_mcp_server" => {
            mcp::list(app, &[("a", '1')]).await;
            mcp::list(app, &[("a", '2'), ("b", '1')]).await;
            let get = |name: &str| at(format!("/api/v1/mcp/servers/{name}"));
            Case::new(
                get("github"),
                [
                    get("githab").refused(404, "mcp_server_not_found"),
                    get("github?x=1").refused(422, "invalid_query"),
                ],
            )
        }
        "approve_mcp_definition" => {
            mcp::list(app, &[("a", '1')]).await;
            mcp::list(app, &[("a", '2')]).await;
            let approve = |name: &str| at(format!("/api/v1/mcp/servers/{name}/approve"));
            let good = json!({"kind": "tool", "name": "a", "digest": mcp::digest('2')});
            let other = json!({"kind": "tool", "name": "a", "digest": mcp::digest('3')});
            Case::new(
                approve("github").json(&good),
                [
                    approve("github")
                        .json(&other)
                        .refused(409, "mcp_definition_changed"),
                    approve("github")
                        .json(&json!({}))
                        .refused(422, "invalid_body"),
                    approve("githab")
                        .json(&good)
                        .refused(404, "mcp_server_not_found"),
                ],
            )
        }
        "reload" => Case::new(
            at("/api/v1/reload".to_owned()),
            [at("/api/v1/reload?tools=x".to_owned()).refused(422, "invalid_query")],
        ),
        "list_tools" => Case::new(
            at("/api/v1/tools".to_owned()),
            [at("/api/v1/tools?tool=x".to_owned()).refused(422, "invalid_query")],
        ),
        "list_agents"
        | "get_agent"
        | "apply_agent"
        | "remove_agent"
        | "list_agent_versions"
        | "get_agent_version" => agents(app, operation).await,
        "list_schedules" => {
            schedule(app).await;
            let list = |query: &str| at(format!("/api/v1/schedules{query}"));
            Case::new(
                list("?limit=5"),
                [list("?cursor=t0").refused(422, "invalid_query")],
            )
        }
        "get_schedule" => {
            schedule(app).await;
            let get = |rest: &str| at(format!("/api/v1/schedules/{rest}"));
            Case::new(
                get("nightly?next=2"),
                [
                    get("none").refused(404, "schedule_not_found"),
                    get("nightly?next=101").refused(422, "invalid_query"),
                ],
            )
        }
        "apply_schedule" => {
            let put = || at("/api/v1/schedules/nightly");
            let mut never = whole_schedule();
            never["cron"] = "0 0 30 2 *".into();
            let mut late = whole_schedule();
            late["jitter"] = "2d".into();
            Case::new(
                put().json(&whole_schedule()),
                [
                    put().json(&json!({})).refused(422, "invalid_body"),
                    put().json(&never).refused(422, "invalid_body"),
                    put().json(&late).refused(422, "invalid_body"),
                ],
            )
        }
        "remove_schedule" => steer(app, "").await,
        "pause_schedule" => steer(app, "/pause").await,
        "resume_schedule" => steer(app, "/resume").await,
        "run_schedule" => steer(app, "/run").await,
        "list_schedule_runs" => {
            let Case { good, mut bad } = steer(app, "/runs").await;
            app.post("/api/v1/schedules/nightly/run", &json!({})).await;
            bad.push(at("/api/v1/schedules/nightly/runs?limit=0").refused(422, "invalid_query"));
            Case { good, bad }
        }
        "list_budgets" => Case::new(at("/api/v1/budgets"), []),
        "get_retention" => {
            ended(app).await;
            Case::new(at("/api/v1/retention"), [])
        }
        "run_retention" => {
            ended(app).await;
            let run = |body: &Value| at("/api/v1/retention/run").json(body);
            Case::new(
                run(&json!({"dry_run": true, "completed": "0s", "failed": 5, "cancelled": "1d"})),
                [run(&json!({"completed": "long"})).refused(422, "invalid_body")],
            )
        }
        "list_reconciliations" => {
            in_doubt(app).await;
            let open = |query: &str| at(format!("/api/v1/reconciliations{query}"));
            Case::new(open(""), [open("?limit=x").refused(422, "invalid_query")])
        }
        "resolve_step" => {
            let id = in_doubt(app).await;
            let step = |id: &str, step: u32| at(format!("/api/v1/reconciliations/{id}/{step}"));
            let done = json!({"resolution": "done", "output": {"sent": true}, "by": "ann"});
            Case::new(
                step(&id, 1).json(&done),
                [
                    step(NO_TASK, 1).json(&done).refused(404, "task_not_found"),
                    step(&id, 7).json(&done).refused(409, "not_in_doubt"),
                    step(&id, 1)
                        .json(&json!({"resolution": "x"}))
                        .refused(422, "invalid_body"),
                    step(&id, 1)
                        .json(&json!({"resolution": "retry", "by": ""}))
                        .refused(422, "invalid_body"),
                ],
            )
        }
        "health" => Case::new(at("/health"), []),
        "health_v1" => Case::new(at("/api/v1/health"), []),
        "ready" => Case::new(at("/ready"), []),
        "metrics" => Case::new(at("/metrics"), []),
        "info" => Case::new(at("/api/v1/info"), []),
        "docs" => Case::new(at("/docs"), []),
        "docs_style" => Case::new(at("/docs.css"), []),
        "openapi" => Case::new(at("/openapi.json"), []),
        other => panic!("the operation `{other}` of /openapi.json has no case in cases.rs"),
    }
}

/// Submits the next task to be claimed.
async fn first(app: &App) -> String {
    app.submit(&json!({"task_type": "echo", "priority": 9, "labels": {"a": "b"}}))
        .await
}

/// A task that has ended.
async fn ended(app: &App) -> String {
    let id = first(app).await;
    app.complete_next(&json!({"answer": "x"})).await;
    id
}

/// A completed, a failed and a scheduled task.
async fn one_of_each_end(app: &App) {
    ended(app).await;
    first(app).await;
    app.fail_next(false).await;
    first(app).await;
    app.fail_next(true).await;
}

/// A dead letter.
pub(crate) async fn dead(app: &App) -> String {
    let retry = json!({"max_attempts": 1});
    let body = json!({"task_type": "echo", "priority": 9, "retry": retry});
    let id = app.submit(&body).await;
    app.fail_next(true).await;
    id
}

/// A task whose first step asks for approval.
pub(crate) async fn asking(app: &App) -> String {
    asking_with(app, json!({"to": "ann"})).await
}

/// The same, with these arguments.
pub(crate) async fn asking_with(app: &App, input: Value) -> String {
    let id = first(app).await;
    let record = app.claim().await;
    let approval = NewApproval {
        step: 1,
        tool: "send_mail".into(),
        tool_digest: "aa".repeat(32),
        agent_digest: "bb".repeat(32),
        input: input.clone(),
        input_digest: "cc".repeat(32),
        input_schema: json!({"type": "object", "properties": {"to": {"type": "string"}}}),
        reason: "the policy asks for every `write`".into(),
        expires_at: None,
        details: ApprovalDetails {
            escalation: Some(Escalation {
                at: Micros(0),
                to: "leads".into(),
            }),
            preview: Some(Preview {
                tool: "read_mail".into(),
                input: json!({"to": "ann"}),
                step: Some(2),
                outcome: PreviewOutcome::Completed {
                    output: json!("nothing yet"),
                },
            }),
        },
    };
    let append = Append {
        approvals: vec![approval],
        ..Append::new(
            record.life.seq,
            vec![event(
                1,
                StepStatus::Waiting,
                json!({"name": "send_mail", "input": input}),
            )],
            Next::Wait(WaitRequest::Approval {
                steps: vec![1],
                until: None,
            }),
        )
    };
    let command = RunCommand::append(record.life.epoch, append);
    let task = record.task.id;
    app.store
        .record(TenantId::DEFAULT, task, command, Vec::new())
        .await
        .unwrap();
    id
}

/// A task whose first step is in doubt.
pub(crate) async fn in_doubt(app: &App) -> String {
    in_doubt_with(app, json!({"to": "a"})).await
}

/// The same, with these arguments.
pub(crate) async fn in_doubt_with(app: &App, input: Value) -> String {
    let id = first(app).await;
    let task = app.claim().await.task.id;
    let call = json!({"name": "send", "input": input});
    let events = vec![event(1, StepStatus::Started, call)];
    let wait = Next::Wait(WaitRequest::InDoubt { steps: vec![1] });
    app.append(task, events, wait).await;
    id
}

async fn agents(app: &App, operation: &str) -> Case {
    app.agents(&["a", "b"]).await;
    let get = |rest: &str| at(format!("/api/v1/agents{rest}"));
    let digest = app.get("/api/v1/agents/a").await.json()["digest"].clone();
    let digest = digest.as_str().unwrap();
    let none = "0".repeat(64);
    match operation {
        "list_agents" => Case::new(
            get("?limit=1"),
            [get("?cursor=t0").refused(422, "invalid_query")],
        ),
        "get_agent" => Case::new(get("/a"), [get("/c").refused(404, "agent_not_found")]),
        "remove_agent" => {
            let next = json!({"definition": {"name": "d", "agents": ["b"]}}).to_string();
            let headers = [("content-type", "application/json")];
            let path = "/api/v1/agents/d";
            crate::client::request(app.addr, "PUT", path, &headers, next.as_bytes()).await;
            Case::new(
                get("/a"),
                [
                    get("/c").refused(404, "agent_not_found"),
                    get("/b").refused(409, "agent_in_use"),
                    get("/b")
                        .header("if-match", &format!("\"{none}\""))
                        .refused(412, "agent_changed"),
                    get("/b")
                        .header("if-match", "7")
                        .refused(422, "invalid_body"),
                ],
            )
        }
        "list_agent_versions" => Case::new(
            get("/a/versions?limit=5"),
            [get("/c/versions").refused(404, "agent_not_found")],
        ),
        "get_agent_version" => {
            let version = |name: &str, digest: &str| get(&format!("/{name}/versions/{digest}"));
            Case::new(
                version("a", digest),
                [
                    version("b", digest).refused(404, "agent_version_not_found"),
                    version("a", &none).refused(404, "agent_version_not_found"),
                    version("a", "x").refused(404, "agent_version_not_found"),
                    version("c", digest).refused(404, "agent_not_found"),
                ],
            )
        }
        _ => {
            let put = |definition: &Value| get("/a").json(&json!({"definition": definition}));
            let next = json!({"name": "a", "n": 2, "agents": ["b"]});
            Case::new(
                put(&next),
                [
                    get("/a").json(&json!({})).refused(422, "invalid_body"),
                    put(&json!({"name": "b"})).refused(422, "invalid_body"),
                    put(&json!({"name": "a", "x": 1})).refused(422, "invalid_body"),
                    put(&json!({"name": "a", "agents": ["c"]})).refused(422, "unknown_agent"),
                    put(&json!({"name": "a", "n": 3, "agents": ["a"]})).refused(422, "agent_cycle"),
                    put(&next)
                        .header("if-none-match", "*")
                        .refused(412, "agent_changed"),
                    put(&json!({"name": "a", "n": 3}))
                        .header("if-match", &format!("\"{none}\""))
                        .refused(412, "agent_changed"),
                    put(&next)
                        .header("if-match", "7")
                        .refused(422, "invalid_body"),
                ],
            )
        }
    }
}

fn whole_schedule() -> Value {
    json!({
        "name": "nightly", "cron": "30 2 * * *", "timezone": "Europe/Berlin",
        "overlap": "queue_one", "catch_up": "all", "paused": false, "jitter": "10m",
        "task": {"task_type": "echo", "retry": {"max_attempts": 2}},
    })
}

async fn schedule(app: &App) {
    let body = whole_schedule().to_string();
    let headers = [("content-type", "application/json")];
    let path = "/api/v1/schedules/nightly";
    let reply = crate::client::request(app.addr, "PUT", path, &headers, body.as_bytes()).await;
    assert_eq!(reply.status, 201, "{}", reply.text());
}

/// What takes only a name.
async fn steer(app: &App, rest: &str) -> Case {
    schedule(app).await;
    let path = |name: &str| at(format!("/api/v1/schedules/{name}{rest}"));
    Case::new(
        path("nightly"),
        [path("none").refused(404, "schedule_not_found")],
    )
}
