//! Decisions, agents, schedules and the server.

use ops_proto::{
    tonic::Code,
    v1::{self, ApprovalStatus, State},
};
use serde_json::json;

use super::{
    super::{Clients, code, json as text, value},
    scripted,
};

const WRITING: &str = r#"
[[turn]]
calls = [{ tool = "write_file", arguments = { path = "note.txt", content = "first" } }]
[[turn]]
answer = "{{ last }}"
"#;

pub(super) async fn decisions(clients: &mut Clients) {
    let (first, second) = (
        clients.submitted(scripted(WRITING)).await,
        clients.submitted(scripted(WRITING)).await,
    );
    for id in [&first, &second] {
        clients.in_state(id, State::Waiting).await;
    }
    let list = v1::ListApprovalsRequest {
        task_id: first.clone(),
        ..Default::default()
    };
    let list = clients
        .approvals
        .list_approvals(list)
        .await
        .unwrap()
        .into_inner();
    let open = &list.approvals[0];
    assert_eq!(
        (open.step, open.tool.as_str(), open.status()),
        (2, "write_file", ApprovalStatus::Pending)
    );
    let edit = v1::EditStepRequest {
        task_id: first.clone(),
        step: 2,
        input: text(&json!({"path": "note.txt", "content": "edited"})),
        revision: Some(1),
        by: "ann".to_owned(),
    };
    let edited = clients
        .approvals
        .edit_step(edit)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            edited.revision,
            value(edited.input.as_ref())["content"].clone()
        ),
        (2, json!("edited"))
    );
    let approve = |revision| v1::ApproveStepRequest {
        task_id: first.clone(),
        step: 2,
        revision,
        by: String::new(),
    };
    let refused = clients
        .approvals
        .approve_step(approve(Some(1)))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::Aborted, "approval_changed")
    );
    clients
        .approvals
        .approve_step(approve(Some(2)))
        .await
        .unwrap();
    clients.in_state(&first, State::Completed).await;
    let deny = v1::DenyStepRequest {
        task_id: second.clone(),
        step: 2,
        reason: "not today".to_owned(),
        ..Default::default()
    };
    clients.approvals.deny_step(deny).await.unwrap();
    let get = v1::GetApprovalRequest {
        task_id: second.clone(),
        step: 2,
    };
    let denied = clients
        .approvals
        .get_approval(get)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (denied.status(), denied.note.as_str()),
        (ApprovalStatus::Denied, "not today")
    );
    let done = clients.in_state(&second, State::Completed).await;
    assert!(done.output.unwrap().contains("not today"));
    let doubts = v1::ListReconciliationsRequest::default();
    clients
        .approvals
        .list_reconciliations(doubts)
        .await
        .unwrap();
    let resolve = v1::ResolveStepRequest {
        task_id: first.clone(),
        step: 2,
        resolution: "done".to_owned(),
        output: text(&json!({"any": [1]})),
        ..Default::default()
    };
    let refused = clients.approvals.resolve_step(resolve).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::FailedPrecondition, "task_final")
    );
}

pub(super) async fn agents(clients: &mut Clients) {
    let definition = json!({"name": "poet", "description": "Writes", "model": "scripted", "tools": ["calculator"]});
    let apply = v1::ApplyAgentRequest {
        name: "poet".to_owned(),
        definition: text(&definition),
        if_none_match: "*".to_owned(),
        ..Default::default()
    };
    let applied = clients
        .agents
        .apply_agent(apply.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(applied.change, "created");
    let refused = clients.agents.apply_agent(apply.clone()).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::Aborted, "agent_changed")
    );
    let again = v1::ApplyAgentRequest {
        if_none_match: String::new(),
        if_match: applied.digest.clone(),
        dry_run: true,
        ..apply
    };
    let unchanged = clients
        .agents
        .apply_agent(again)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(unchanged.change, "unchanged");
    let list = v1::ListAgentsRequest::default();
    let list = clients.agents.list_agents(list).await.unwrap().into_inner();
    assert_eq!(list.agents[0].name, "poet");
    let get = v1::GetAgentRequest {
        name: "poet".to_owned(),
    };
    let agent = clients.agents.get_agent(get).await.unwrap().into_inner();
    assert_eq!(value(agent.definition.as_ref())["description"], "Writes");
    let versions = v1::ListAgentVersionsRequest {
        name: "poet".to_owned(),
        limit: Some(5),
    };
    let versions = clients
        .agents
        .list_agent_versions(versions)
        .await
        .unwrap()
        .into_inner();
    assert!(versions.versions[0].current);
    let version = v1::GetAgentVersionRequest {
        name: "poet".to_owned(),
        digest: applied.digest.clone(),
    };
    clients.agents.get_agent_version(version).await.unwrap();
    let tools = clients
        .agents
        .list_tools(v1::ListToolsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(tools.tools.iter().any(|tool| tool.name == "calculator"));
    let servers = clients
        .agents
        .list_mcp_servers(v1::ListMcpServersRequest {})
        .await
        .unwrap();
    assert!(servers.into_inner().servers.is_empty());
    let server = v1::GetMcpServerRequest {
        name: "a/../b".to_owned(),
    };
    let refused = clients.agents.get_mcp_server(server).await.unwrap_err();
    assert_eq!(code(&refused), "mcp_server_not_found");
    let approve = v1::ApproveMcpDefinitionRequest {
        server: "nothing".to_owned(),
        name: "tool".to_owned(),
        digest: "0".repeat(64),
        ..Default::default()
    };
    let refused = clients
        .agents
        .approve_mcp_definition(approve)
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "mcp_server_not_found");
    let remove = |if_match: &str| v1::RemoveAgentRequest {
        name: "poet".to_owned(),
        if_match: if_match.to_owned(),
    };
    let refused = clients
        .agents
        .remove_agent(remove(&"0".repeat(64)))
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "agent_changed");
    clients
        .agents
        .remove_agent(remove(&applied.digest))
        .await
        .unwrap();
}

pub(super) async fn schedules(clients: &mut Clients) {
    let name = || "nightly".to_owned();
    let apply = v1::ApplyScheduleRequest {
        name: name(),
        cron: "30 2 * * 1-5".to_owned(),
        timezone: "Europe/Berlin".to_owned(),
        overlap: v1::Overlap::Allow.into(),
        catch_up: v1::CatchUp::None.into(),
        jitter: Some(2.5),
        task: Some(v1::SubmitTaskRequest {
            prompt: "sum up".to_owned(),
            ..Default::default()
        }),
        next: Some(2),
        ..Default::default()
    };
    let applied = clients
        .schedules
        .apply_schedule(apply)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((applied.next_runs.len(), applied.jitter), (2, Some(2.5)));
    assert_eq!(
        (applied.overlap(), applied.catch_up()),
        (v1::Overlap::Allow, v1::CatchUp::None)
    );
    let template = applied.task.unwrap();
    assert_eq!(value(template.input_data.as_ref())["prompt"], "sum up");
    let list = v1::ListSchedulesRequest::default();
    let list = clients
        .schedules
        .list_schedules(list)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.schedules.len(), 1);
    let get = v1::GetScheduleRequest {
        name: name(),
        next: Some(0),
    };
    let one = clients
        .schedules
        .get_schedule(get)
        .await
        .unwrap()
        .into_inner();
    assert!(one.next_runs.is_empty() && one.next_run_at.is_some());
    let pause = v1::PauseScheduleRequest {
        name: name(),
        if_match: one.revision.to_string(),
    };
    let paused = clients
        .schedules
        .pause_schedule(pause.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(paused.paused);
    let refused = clients.schedules.pause_schedule(pause).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::Aborted, "schedule_changed")
    );
    let resume = v1::ResumeScheduleRequest {
        name: name(),
        ..Default::default()
    };
    assert!(
        !clients
            .schedules
            .resume_schedule(resume)
            .await
            .unwrap()
            .into_inner()
            .paused
    );
    let run = clients
        .schedules
        .run_schedule(v1::RunScheduleRequest { name: name() })
        .await;
    let run = run.unwrap().into_inner();
    assert_eq!(
        (run.trigger.as_str(), run.outcome.as_str()),
        ("manual", "started")
    );
    clients.in_state(&run.task_id, State::Completed).await;
    let runs = v1::ListScheduleRunsRequest {
        name: name(),
        limit: None,
    };
    let runs = clients
        .schedules
        .list_schedule_runs(runs)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(runs.runs[0].task_id, run.task_id);
    let remove = || v1::RemoveScheduleRequest {
        name: name(),
        ..Default::default()
    };
    clients.schedules.remove_schedule(remove()).await.unwrap();
    let refused = clients
        .schedules
        .remove_schedule(remove())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::NotFound, "schedule_not_found")
    );
}

pub(super) async fn server_facts(clients: &mut Clients) {
    let info = clients
        .server
        .info(v1::InfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (info.mode.as_str(), info.model.unwrap().is_llm),
        ("dev", false)
    );
    clients
        .server
        .list_budgets(v1::ListBudgetsRequest {})
        .await
        .unwrap();
    clients
        .server
        .get_retention(v1::GetRetentionRequest {})
        .await
        .unwrap();
    let dry = v1::RunRetentionRequest {
        dry_run: true,
        completed: Some(0.5),
        ..Default::default()
    };
    let run = clients
        .server
        .run_retention(dry)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (run.dry_run, run.keep.unwrap().completed),
        (true, Some(0.5))
    );
    clients.server.reload(v1::ReloadRequest {}).await.unwrap();
}
