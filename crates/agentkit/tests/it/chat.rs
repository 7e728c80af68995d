//! Conversations in a program (library/G1).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentkit::{
    Agent, BoxFuture, Event, Goal, Model, Usage,
    agent::{CallDecision, Chat, RunError, RunEvent},
    drive::{Batch, MemoryRecorder, RecordError, Recorder},
    event::{Failure, FinishReason, Wait},
    model::{DeltaSink, Image, Message, ModelError, Request, Response, ResponseCall},
    policy::{Action, ApprovalTerms, Permission, Policy, PolicyContext},
    run::Limits,
    tool::{Effect, function},
};
use serde_json::json;

type Requests = Arc<Mutex<Vec<Vec<Arc<Message>>>>>;

/// Asks for a call of `look` where the newest message is `look`, and else counts the messages of persons in the request.
struct Counts {
    name: &'static str,
    requests: Requests,
}

impl Model for Counts {
    fn name(&self) -> &str {
        self.name
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        deltas: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        self.requests.lock().unwrap().push(request.messages.clone());
        let last = request.messages.last().map(|message| &**message);
        let looks = matches!(last, Some(Message::User { content, .. }) if content == "look");
        let said = asked(&request.messages).len();
        let content = match looks {
            true => String::new(),
            false => format!("{said} said"),
        };
        deltas.text(&content);
        let call = ResponseCall {
            provider_id: format!("p{said}"),
            name: "look".to_owned(),
            arguments: "{}".to_owned(),
        };
        Box::pin(std::future::ready(Ok(Response {
            content,
            calls: looks.then_some(call).into_iter().collect(),
            usage: Usage {
                input_tokens: 10,
                output_tokens: 1,
                ..Usage::default()
            },
            finish: FinishReason::Stop,
            model: self.name.to_owned(),
            parts: Some(json!({"of": self.name})),
            request_id: None,
        })))
    }
}

/// The words of persons.
fn asked(messages: &[Arc<Message>]) -> Vec<&str> {
    let words = messages.iter().filter_map(|message| match &**message {
        Message::User { content, .. } => Some(&**content),
        _ => None,
    });
    words.collect()
}

fn instructions(messages: &[Arc<Message>]) -> Vec<&str> {
    let words = messages.iter().filter_map(|message| match &**message {
        Message::System { content } => Some(&**content),
        _ => None,
    });
    words.collect()
}

/// Each call of an answer has one result, and each result a call.
fn calls_have_results(messages: &[Arc<Message>]) -> usize {
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for message in messages {
        match &**message {
            Message::Assistant { calls: asked, .. } => {
                calls.extend(asked.iter().map(|call| call.step));
            }
            Message::Tool { step, .. } => results.push(*step),
            Message::System { .. } | Message::User { .. } => {}
        }
    }
    assert_eq!(calls, results);
    calls.len()
}

struct World {
    requests: Requests,
    looks: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        Self {
            requests: Arc::default(),
            looks: Arc::default(),
        }
    }

    fn agent(&self, name: &'static str, says: &str, limits: Limits) -> Agent {
        self.builder(name, says).limits(limits).build().unwrap()
    }

    fn builder(&self, name: &'static str, says: &str) -> agentkit::AgentBuilder {
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        struct Nothing {}
        let looks = Arc::clone(&self.looks);
        let look = move |_: Nothing| {
            looks.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, String>("seen") }
        };
        let requests = Arc::clone(&self.requests);
        Agent::builder(Counts { name, requests })
            .instructions(says)
            .tool(function("look", "Looks.", look).effect(Effect::Pure))
    }

    fn last(&self) -> Vec<Arc<Message>> {
        self.requests.lock().unwrap().last().unwrap().clone()
    }
}

async fn say(chat: &Chat, question: &str) -> String {
    chat.say(question).await.unwrap().to_string()
}

#[tokio::test]
async fn a_question_is_asked_with_what_was_said_before() {
    let world = World::new();
    let chat = world.agent("test/a", "Be brief.", Limits::default()).chat();
    assert_eq!(say(&chat, "one").await, "1 said");
    let answer = chat.say("look").await.unwrap();
    assert_eq!(answer.output, "2 said");
    // Two calls of this question, and none of the one before.
    assert_eq!(
        (answer.usage.input_tokens, answer.usage.output_tokens),
        (20, 2)
    );
    assert_eq!(say(&chat, "three").await, "3 said");
    let sent = world.last();
    assert_eq!(instructions(&sent), ["Be brief."]);
    assert_eq!(asked(&sent), ["one", "look", "three"]);
    assert_eq!(calls_have_results(&sent), 1);
    let answers = sent.iter().filter_map(|message| match &**message {
        Message::Assistant { content, parts, .. } => {
            assert!(parts.is_some(), "the parts of its own model stay");
            Some(&**content)
        }
        _ => None,
    });
    assert_eq!(answers.collect::<Vec<_>>(), ["1 said", "", "2 said"]);
    // Its own last answer is among the messages.
    assert_eq!(chat.messages().len(), sent.len() + 1);
}

#[tokio::test]
async fn a_history_is_data_and_goes_on_elsewhere() {
    let world = World::new();
    let agent = world.agent("test/a", "Be brief.", Limits::default());
    let chat = agent.chat();
    for question in ["one", "look"] {
        say(&chat, question).await;
    }
    let saved = serde_json::to_string(&chat.history()).unwrap();
    say(&chat, "three").await;
    let here = world.last();
    let there = agent.chat_from(serde_json::from_str(&saved).unwrap());
    let there = there.unwrap();
    assert_eq!(
        there.messages().len(),
        6 + 1,
        "instructions, and three each"
    );
    say(&there, "three").await;
    assert_eq!(world.last(), here);
    // What is no log is refused.
    let mut torn = chat.history();
    torn.retain(|event| event.kind() != "tool.called");
    let error = agent.chat_from(torn).map(drop).unwrap_err();
    assert!(matches!(error, RunError::Drive(_)), "{error}");
}

#[tokio::test]
async fn another_agent_goes_on_with_its_own_instructions_and_model() {
    let world = World::new();
    let first = world.agent("test/a", "Be brief.", Limits::default()).chat();
    say(&first, "look").await;
    for (says, wanted) in [("Be long.", &["Be long."][..]), ("", &[][..])] {
        let second = world.agent("test/b", says, Limits::default());
        let second = second.chat_from(first.history()).unwrap();
        assert_eq!(say(&second, "two").await, "2 said");
        let sent = world.last();
        assert_eq!(instructions(&sent), wanted);
        assert_eq!(asked(&sent), ["look", "two"]);
        assert_eq!(calls_have_results(&sent), 1);
        // The parts that only the first model can read stay behind.
        let has_parts = |message: &Arc<Message>| {
            matches!(&**message, Message::Assistant { parts: Some(_), .. })
        };
        assert!(!sent.iter().any(has_parts));
        // And back.
        let third = world.agent("test/a", "Be brief.", Limits::default());
        let third = third.chat_from(second.history()).unwrap();
        assert_eq!(say(&third, "three").await, "3 said");
        assert_eq!(instructions(&world.last()), ["Be brief."]);
    }
}

#[tokio::test]
async fn limits_are_those_of_a_question() {
    let world = World::new();
    let limits = Limits {
        max_steps: 1,
        max_tokens: Some(5_000),
        ..Limits::default()
    };
    let chat = world.agent("test/a", "", limits.clone()).chat();
    for question in ["one", "two", "three"] {
        chat.say(question).await.unwrap();
    }
    // A call, the tool and another call are too much for one step, and fit into three.
    let failed = |result: Result<_, RunError>| match result.map(drop).unwrap_err() {
        RunError::Failed(failure) => failure.code,
        other => panic!("{other}"),
    };
    assert_eq!(failed(chat.say("look").await), "step_limit");
    let three = Limits {
        max_steps: 3,
        ..limits.clone()
    };
    assert_eq!(
        chat.say("look").limits(three).await.unwrap().output,
        "5 said"
    );
    let none = Limits {
        max_tokens: Some(1),
        ..limits
    };
    assert_eq!(failed(chat.say("six").limits(none).await), "token_limit");
    // What failed was said, and the conversation goes on.
    assert_eq!(say(&chat, "seven").await, "7 said");
    calls_have_results(&world.last());
}

/// A log that dies with its append of this number.
struct Dying {
    log: MemoryRecorder,
    left: AtomicUsize,
}

impl Recorder for Dying {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        match left {
            0 => Box::pin(async { Err(RecordError::LeaseLost) }),
            _ => self.log.append(batch),
        }
    }

    fn check(&self) -> Result<(), RecordError> {
        Ok(())
    }

    fn new_child(&self) -> Result<String, Failure> {
        self.log.new_child()
    }
}

#[tokio::test]
async fn a_question_whose_process_died_goes_on_from_its_log() {
    let mut died = 0;
    for dies in 0..8 {
        let world = World::new();
        let agent = world.agent("test/a", "", Limits::default());
        let chat = agent.chat();
        say(&chat, "one").await;
        let before = chat.history();
        let log = Arc::new(Dying {
            log: MemoryRecorder::default(),
            left: AtomicUsize::new(dies),
        });
        let chat = agent.chat_from(before.clone()).unwrap();
        let chat = chat.recorder(Arc::clone(&log) as _);
        let result = chat.say("look").await;
        let whole: Vec<Event> = before.into_iter().chain(log.log.events()).collect();
        if let Ok(answer) = result {
            assert_eq!(answer.output, "2 said");
            assert_eq!(chat.history(), whole);
            continue;
        }
        died += 1;
        // A process that knows nothing but the log.
        let chat = agent.chat_from(whole).unwrap();
        let recorded = world.requests.lock().unwrap().len();
        let answer = chat.resume().await.unwrap().output;
        match dies {
            // Nothing of it was recorded, so the answer is that of the question before.
            0 => assert_eq!(answer, "1 said"),
            _ => assert_eq!(answer, "2 said"),
        }
        let calls = world.requests.lock().unwrap().len();
        assert!(calls - recorded <= 2, "what is recorded is not asked again");
        assert!(world.looks.load(Ordering::SeqCst) <= 2);
        let said = if dies == 0 { "2 said" } else { "3 said" };
        assert_eq!(say(&chat, "next").await, said);
        calls_have_results(&world.last());
    }
    assert!((4..8).contains(&died), "{died}");
    let world = World::new();
    let chat = world.agent("test/a", "", Limits::default()).chat();
    let error = chat.resume().await.unwrap_err();
    assert!(error.to_string().contains("ask with `say`"), "{error}");
}

struct Careful;

impl Policy for Careful {
    fn check_permissions(&self, _: &Action<'_>, _: &PolicyContext<'_>) -> Permission {
        Permission::Ask {
            reason: "it is guarded".to_owned(),
            terms: ApprovalTerms::default(),
        }
    }
}

#[tokio::test]
async fn a_question_that_waits_is_answered_later_or_given_up() {
    let world = World::new();
    let agent = world.builder("test/a", "").policy(Arc::new(Careful));
    let chat = agent.build().unwrap().chat();
    let waits = chat.say("look").await.unwrap_err();
    assert!(matches!(waits, RunError::Waiting(Wait::Approval { .. })));
    let approve = |_| async { CallDecision::Approve };
    assert_eq!(
        chat.resume().approve(approve).await.unwrap().output,
        "1 said"
    );
    assert_eq!(world.looks.load(Ordering::SeqCst), 1);

    chat.say("look").await.unwrap_err();
    assert_eq!(say(&chat, "never mind").await, "3 said");
    assert_eq!(world.looks.load(Ordering::SeqCst), 1);
    let sent = world.last();
    assert_eq!(calls_have_results(&sent), 2);
    let told = sent.iter().any(|message| {
        matches!(&**message, Message::Tool { content, is_error: true, .. }
            if content.contains("ended before this call began"))
    });
    assert!(told, "{sent:?}");
}

#[tokio::test]
async fn a_question_has_images_and_is_followed() {
    let world = World::new();
    let chat = world.agent("test/a", "", Limits::default()).chat();
    say(&chat, "one").await;
    let image = Image::from_bytes(b"\x89PNG\r\n\x1a\n0000").unwrap();
    let mut stream = chat.say(Goal::new("two").image(image.clone())).stream();
    let (mut words, mut answer) = (String::new(), None);
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            RunEvent::Text { delta, .. } => words += &delta,
            RunEvent::Answer(given) => answer = Some(given),
            _ => {}
        }
    }
    assert_eq!(words, "2 said");
    assert_eq!(answer.unwrap().output, "2 said");
    let shown = world.last().iter().any(
        |message| matches!(&**message, Message::User { images, .. } if *images == [image.clone()]),
    );
    assert!(shown);
    // A stream that is dropped leaves the conversation usable.
    let mut dropped = chat.say("three").stream();
    let _ = tokio::time::timeout(Duration::from_secs(5), dropped.next()).await;
    drop(dropped);
    assert_eq!(say(&chat, "four").await, "4 said");
}
