//! Every method of `opspawn.v1`, called: a method without a call here fails the test.

mod definitions;

use std::{collections::BTreeSet, time::Duration};

use ops_proto::{
    DESCRIPTORS,
    tonic::Code,
    v1::{self, OnExhausted, State, Status},
};
use ops_testkit::wait_until;
use prost_reflect::DescriptorPool;
use serde_json::json;

use super::{
    super::test_dir::{TestDir, assert_calm},
    Clients, code, json as text, server, value,
};

const TIMEOUT: Duration = Duration::from_secs(30);

fn scripted(script: &str) -> v1::SubmitTaskRequest {
    v1::SubmitTaskRequest {
        prompt: "go".to_owned(),
        agent_config: text(&json!({"provider": "scripted", "script": script})),
        ..Default::default()
    }
}

const ASKING: &str = r#"
[[turn]]
calls = [{ tool = "ask_human", arguments = { question = "Which colour?" } }]
[[turn]]
answer = "You said {{ last }}."
"#;

impl Clients {
    async fn in_state(&mut self, id: &str, state: State) -> v1::Task {
        let get = v1::GetTaskRequest {
            task_id: id.to_owned(),
        };
        let ask = || {
            let (get, mut client) = (get.clone(), self.tasks.clone());
            async move {
                let task = client.get_task(get).await.unwrap().into_inner();
                (task.state() == state).then_some(task)
            }
        };
        let found = wait_until(&format!("{state:?}"), TIMEOUT, ask).await;
        found.unwrap()
    }

    async fn submitted(&mut self, request: v1::SubmitTaskRequest) -> String {
        self.tasks
            .submit_task(request)
            .await
            .unwrap()
            .into_inner()
            .task_id
    }
}

#[tokio::test]
async fn every_method_does_what_rest_does() {
    let test_dir = TestDir::new();
    std::fs::create_dir_all(test_dir.data()).unwrap();
    let policy =
        "[[rule]]\ntool = \"write_file\"\naction = \"ask\"\nreason = \"files are precious\"\n";
    std::fs::write(test_dir.data().join("policy.toml"), policy).unwrap();
    let server = server(&test_dir).await;
    let mut clients = Clients::of(&server).await;
    Box::pin(tasks(&mut clients)).await;
    logs(&mut clients).await;
    many(&mut clients).await;
    definitions::decisions(&mut clients).await;
    definitions::agents(&mut clients).await;
    definitions::schedules(&mut clients).await;
    definitions::server_facts(&mut clients).await;
    let called = clients.noted.paths.lock().unwrap().clone();
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let mut all = BTreeSet::new();
    for service in pool
        .services()
        .filter(|service| service.package_name() == "opspawn.v1")
    {
        for method in service.methods() {
            all.insert(format!("/{}/{}", service.full_name(), method.name()));
        }
    }
    assert!(all.len() > 50);
    let missing: Vec<_> = all.difference(&called).collect();
    assert!(
        missing.is_empty(),
        "methods that no test calls: {missing:#?}"
    );
    assert_calm(&server);
}

async fn tasks(clients: &mut Clients) {
    let request = v1::SubmitTaskRequest {
        prompt: "hello".to_owned(),
        // A double would lose digits of the number.
        input_data: text(&json!({"number": 12_345_678_901_234_567_890_u64})),
        name: "first".to_owned(),
        priority: 7,
        labels: [("team".to_owned(), "a/b&c".to_owned())].into(),
        limits: Some(v1::Limits {
            max_steps: Some(9),
            timeout: Some(90.5),
            on_exhausted: OnExhausted::Wait.into(),
            ..Default::default()
        }),
        retry: Some(v1::Retry {
            max_attempts: Some(2),
            backoff: Some(0.5),
        }),
        request_id: "key-1".to_owned(),
        ..Default::default()
    };
    let first = clients.tasks.submit_task(request.clone()).await.unwrap();
    let id = first.get_ref().task_id.clone();
    let task = first.into_inner();
    assert_eq!(
        value(task.input_data.as_ref()),
        json!({"number": 12_345_678_901_234_567_890_u64, "prompt": "hello"})
    );
    assert_eq!((task.priority, task.labels["team"].as_str()), (7, "a/b&c"));
    let limits = task.limits.unwrap();
    assert_eq!(
        (limits.max_steps, limits.timeout, limits.on_exhausted()),
        (Some(9), Some(90.5), OnExhausted::Wait)
    );
    let again = clients.tasks.submit_task(request.clone()).await.unwrap();
    assert_eq!(
        again.metadata().get("idempotency-replayed").unwrap(),
        "true"
    );
    assert_eq!(again.into_inner().task_id, id);
    let other = v1::SubmitTaskRequest {
        name: "other".to_owned(),
        ..request
    };
    let refused = clients.tasks.submit_task(other).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::InvalidArgument, "idempotency_mismatch")
    );
    let done = clients.in_state(&id, State::Completed).await;
    assert_eq!(
        (done.status(), done.output.as_deref()),
        (
            Status::Completed,
            Some("no LLM has worked on this goal: hello")
        )
    );
    assert!(done.completed_at.unwrap().seconds > 1_700_000_000 && done.attempt == 1);

    let retry = v1::RetryTaskRequest {
        task_id: id.clone(),
        idempotency_key: "key-2".to_owned(),
    };
    let retried = clients
        .tasks
        .retry_task(retry.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(retried.retry_of, id);
    let same = clients.tasks.retry_task(retry).await.unwrap().into_inner();
    assert_eq!(same.task_id, retried.task_id);
    let rerun = v1::RerunTaskRequest {
        task_id: id.clone(),
        input_data: text(&json!({"prompt": "anew"})),
        ..Default::default()
    };
    let rerun = clients
        .tasks
        .rerun_task(rerun)
        .await
        .unwrap()
        .into_inner()
        .task_id;
    let done = clients.in_state(&rerun, State::Completed).await;
    assert!(done.output.unwrap().ends_with("anew"));

    let question = clients.submitted(scripted(ASKING)).await;
    let waiting = clients.in_state(&question, State::Waiting).await;
    let detail = waiting.state_detail.unwrap();
    assert_eq!(detail.on, "signal");
    let limit = v1::LimitTaskRequest {
        task_id: question.clone(),
        max_steps: Some(50),
        ..Default::default()
    };
    let limited = clients.tasks.limit_task(limit).await.unwrap().into_inner();
    assert_eq!(limited.limits.unwrap().max_steps, Some(50));
    let pause = v1::PauseTaskRequest {
        task_id: question.clone(),
    };
    assert!(
        clients
            .tasks
            .pause_task(pause)
            .await
            .unwrap()
            .into_inner()
            .paused
    );
    let resume = v1::ResumeTaskRequest {
        task_id: question.clone(),
    };
    assert!(
        !clients
            .tasks
            .resume_task(resume)
            .await
            .unwrap()
            .into_inner()
            .paused
    );
    let signal = v1::SignalTaskRequest {
        task_id: question.clone(),
        name: detail.signals[0].clone(),
        payload: text(&json!("red")),
    };
    clients.tasks.signal_task(signal).await.unwrap();
    let done = clients.in_state(&question, State::Completed).await;
    assert_eq!(done.output.as_deref(), Some("You said red."));
    let cancel = v1::CancelTaskRequest { task_id: question };
    let refused = clients.tasks.cancel_task(cancel).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::FailedPrecondition, "task_final")
    );
}

async fn logs(clients: &mut Clients) {
    let id = clients.submitted(scripted(ASKING)).await;
    clients.in_state(&id, State::Waiting).await;
    let steps = v1::ListStepsRequest {
        task_id: id.clone(),
        limit: Some(1),
        ..Default::default()
    };
    let page = clients
        .tasks
        .list_steps(steps.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (page.steps.len(), page.steps[0].kind.as_str()),
        (1, "model")
    );
    let rest = v1::ListStepsRequest {
        cursor: page.next_cursor,
        ..steps
    };
    let rest = clients.tasks.list_steps(rest).await.unwrap().into_inner();
    assert_eq!(rest.steps[0].name, "ask_human");
    assert_eq!(rest.steps[0].status(), v1::StepStatus::Waiting);
    assert_eq!(
        value(rest.steps[0].input.as_ref())["question"],
        "Which colour?"
    );
    let prompt = v1::GetPromptRequest {
        task_id: id.clone(),
        step: 1,
    };
    let prompt = clients.tasks.get_prompt(prompt).await.unwrap().into_inner();
    assert!(value(Some(&prompt)).is_object());
    let events = v1::ListEventsRequest {
        task_id: id.clone(),
        after: Some(1),
        ..Default::default()
    };
    let events = clients
        .tasks
        .list_events(events)
        .await
        .unwrap()
        .into_inner()
        .events;
    assert_eq!(events[0].seq, 2);
    let follow = v1::FollowTaskRequest {
        task_id: id.clone(),
        ..Default::default()
    };
    let mut stream = clients
        .tasks
        .follow_task(follow)
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let nothing = v1::FollowTaskRequest {
        task_id: "task_nope".to_owned(),
        ..Default::default()
    };
    let refused = clients.tasks.follow_task(nothing).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::NotFound, "task_not_found")
    );
    let export = v1::ExportTaskRequest {
        task_id: id.clone(),
    };
    let mut pieces = clients
        .tasks
        .export_task(export)
        .await
        .unwrap()
        .into_inner();
    let mut lines = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        lines.extend(piece.data);
    }
    let lines = String::from_utf8(lines).unwrap();
    assert!(
        lines.lines().last().unwrap().contains("\"type\":\"end\""),
        "{lines}"
    );
    let cancel = v1::CancelTaskRequest {
        task_id: id.clone(),
    };
    clients.tasks.cancel_task(cancel).await.unwrap();
    let gone = clients.in_state(&id, State::Cancelled).await;
    assert_eq!(gone.status(), Status::Cancelled);
}

async fn many(clients: &mut Clients) {
    let labelled = |script: &str| v1::SubmitTaskRequest {
        labels: [("batch".to_owned(), "x=1".to_owned())].into(),
        ..scripted(script)
    };
    let batch = v1::SubmitTasksRequest {
        tasks: vec![
            labelled(ASKING),
            labelled(ASKING),
            v1::SubmitTaskRequest {
                priority: 10,
                ..labelled(ASKING)
            },
        ],
    };
    let outcome = clients
        .tasks
        .submit_tasks(batch)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((outcome.accepted, outcome.refused), (2, 1));
    let error = outcome.results[2].error.as_ref().unwrap();
    assert_eq!((error.status, error.code.as_str()), (422, "invalid_body"));
    for result in &outcome.results[..2] {
        let id = result.task.as_ref().unwrap().task_id.clone();
        clients.in_state(&id, State::Waiting).await;
    }
    let list = v1::ListTasksRequest {
        state: vec![State::Waiting.into(), State::Paused.into()],
        label: vec!["batch=x=1".to_owned()],
        limit: Some(1),
        ..Default::default()
    };
    let page = clients
        .tasks
        .list_tasks(list.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((page.tasks.len(), page.total), (1, 2));
    let next = v1::ListTasksRequest {
        cursor: page.next_cursor.clone(),
        ..list.clone()
    };
    let next = clients.tasks.list_tasks(next).await.unwrap().into_inner();
    assert_ne!(next.tasks[0].task_id, page.tasks[0].task_id);
    assert_eq!(next.next_cursor, "");
    let future = v1::ListTasksRequest {
        created_after: Some(ops_proto::prost_types::Timestamp {
            seconds: 4_000_000_000,
            nanos: 0,
        }),
        ..Default::default()
    };
    assert_eq!(
        clients
            .tasks
            .list_tasks(future)
            .await
            .unwrap()
            .into_inner()
            .total,
        0
    );
    let all = || v1::ManyTasksRequest {
        label: vec!["batch=x=1".to_owned()],
        ..Default::default()
    };
    let paused = clients.tasks.pause_tasks(all()).await.unwrap().into_inner();
    assert_eq!(paused.tasks.len(), 2);
    let resumed = clients
        .tasks
        .resume_tasks(all())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(resumed.tasks.len(), 2);
    let dry = v1::ManyTasksRequest {
        dry_run: true,
        ..all()
    };
    assert!(
        clients
            .tasks
            .cancel_tasks(dry)
            .await
            .unwrap()
            .into_inner()
            .dry_run
    );
    let cancelled = clients
        .tasks
        .cancel_tasks(all())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(cancelled.tasks.len(), 2);
    let everything = clients
        .tasks
        .cancel_tasks(v1::ManyTasksRequest::default())
        .await;
    assert_eq!(code(&everything.unwrap_err()), "invalid_query");

    let failing = scripted("[[turn]]\nerror = \"invalid_request\"\n");
    let failed = clients.submitted(failing).await;
    let ended = clients.in_state(&failed, State::Failed).await;
    assert_eq!(ended.error_message, ended.error.unwrap().message);
    let letters = v1::ListDeadLettersRequest::default();
    let letters = clients
        .tasks
        .list_dead_letters(letters)
        .await
        .unwrap()
        .into_inner();
    assert!(letters.tasks.is_empty());
    let redrive = v1::RedriveTaskRequest { task_id: failed };
    let refused = clients.tasks.redrive_task(redrive).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused).as_str()),
        (Code::FailedPrecondition, "not_dead_letter")
    );
    let dry = v1::RedriveTasksRequest {
        dry_run: true,
        ..Default::default()
    };
    assert!(
        clients
            .tasks
            .redrive_tasks(dry)
            .await
            .unwrap()
            .into_inner()
            .dry_run
    );
}
