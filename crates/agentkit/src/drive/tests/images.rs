//! Images in results: the model is shown them, also after a crash, as far as there is room.

use std::collections::BTreeMap;

use super::*;
use crate::{event::ContentPart, tool::OutputPart};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Notes which images it is shown; calls `look` so often.
struct Watcher {
    turns: usize,
    shown: Mutex<Vec<usize>>,
}

impl Model for Watcher {
    fn name(&self) -> &'static str {
        "test/watcher"
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        _: &'a dyn DeltaSink,
    ) -> BoxFuture<'a, Result<Response, ModelError>> {
        let said = |message: &&Arc<Message>| matches!(***message, Message::Assistant { .. });
        let turn = request.messages.iter().filter(said).count();
        self.shown.lock().unwrap().push(request.images.len());
        let calls = (turn < self.turns).then(|| ResponseCall {
            provider_id: format!("p{turn}"),
            name: "look".to_owned(),
            arguments: format!("{{\"n\": {turn}}}"),
        });
        let response = Response {
            content: if calls.is_some() {
                String::new()
            } else {
                "seen".to_owned()
            },
            calls: calls.into_iter().collect(),
            usage: Usage::default(),
            finish: FinishReason::Stop,
            model: "watcher".to_owned(),
            parts: None,
            request_id: None,
        };
        Box::pin(std::future::ready(Ok(response)))
    }
}

struct Look(ToolSpec);

impl Tool for Look {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        let mut image = PNG.to_vec();
        image.extend(arguments["n"].to_string().bytes());
        let parts = vec![OutputPart::Image(image.into())];
        Box::pin(std::future::ready(Ok(parts.into())))
    }
}

/// Keeps events and values; loses the values if it is told to.
#[derive(Default)]
struct Store {
    events: Mutex<Vec<Event>>,
    blobs: Mutex<BTreeMap<String, Bytes>>,
    reads: AtomicUsize,
}

impl Recorder for Store {
    fn append<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<(), RecordError>> {
        self.events.lock().unwrap().extend_from_slice(batch.events);
        self.blobs.lock().unwrap().extend(batch.blobs);
        Box::pin(std::future::ready(Ok(())))
    }

    fn check(&self) -> Result<(), RecordError> {
        Ok(())
    }

    fn new_child(&self) -> Result<String, Failure> {
        Err(Failure::last("no_children", "a test without children"))
    }
}

impl crate::tool::BlobReader for Store {
    fn read<'a>(
        &'a self,
        digest: &'a str,
        _: u64,
        _: u64,
    ) -> BoxFuture<'a, Result<Bytes, Failure>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let blob = self.blobs.lock().unwrap().get(digest).cloned();
        let gone = || Failure::last("result_not_found", "gone");
        Box::pin(std::future::ready(blob.ok_or_else(gone)))
    }
}

fn agent(turns: usize) -> (Agent, Arc<Watcher>) {
    let model = Arc::new(Watcher {
        turns,
        shown: Mutex::default(),
    });
    let spec = ToolSpec::new("look", "", json!({"type": "object"})).effect(Effect::Pure);
    let agent = Agent::builder(Arc::clone(&model)).tool(Look(spec));
    (agent.build().unwrap(), model)
}

async fn driven(agent: &Agent, store: &Arc<Store>, mut run: Run) -> Run {
    let clock = Arc::new(SystemClock);
    let environment = DriveEnvironment::new(
        Arc::clone(store) as _,
        clock,
        ".".into(),
        Arc::clone(store) as _,
    );
    let stop = drive(agent, "look", &mut run, &environment).await.unwrap();
    assert_eq!(stop, Stop::Completed(json!("seen")));
    run
}

#[tokio::test]
async fn the_model_is_shown_the_images_of_results_the_newest_ones_if_there_are_many() {
    let (agent, model) = agent(20);
    let store = Arc::new(Store::default());
    let run = driven(&agent, &store, Run::default()).await;
    let shown: Vec<usize> = (0..=20).map(|count| count.min(16)).collect();
    assert_eq!(*model.shown.lock().unwrap(), shown);
    assert_eq!(store.reads.load(Ordering::SeqCst), 20, "each is read once");
    let events = store.events.lock().unwrap().clone();
    let stored: Vec<Event> = events
        .iter()
        .map(|event| Event::decode(&event.encode()).unwrap())
        .collect();
    assert_eq!(fold(&stored), run);
    let parts = stored.iter().filter_map(|event| match event {
        Event::ToolCompleted(completed) => Some(&completed.parts),
        _ => None,
    });
    assert_eq!(parts.clone().count(), 20);
    for parts in parts {
        let [ContentPart::Image { media }] = &parts[..] else {
            panic!("{parts:?}")
        };
        assert!(store.blobs.lock().unwrap().contains_key(&media.digest));
    }
}

#[tokio::test]
async fn a_run_that_goes_on_shows_them_again_and_one_that_lost_them_goes_on_without() {
    for lost in [false, true] {
        let (agent, model) = agent(3);
        let store = Arc::new(Store::default());
        driven(&agent, &store, Run::default()).await;
        // Up to the third call's outcome: the last answer is asked for anew.
        let mut events = store.events.lock().unwrap().clone();
        let returned = |event: &Event| matches!(event, Event::ToolCompleted(_));
        let end = events.iter().rposition(returned).unwrap();
        events.truncate(end + 1);
        if lost {
            store.blobs.lock().unwrap().clear();
        }
        model.shown.lock().unwrap().clear();
        driven(&agent, &store, fold(&events)).await;
        let expected = if lost { 0 } else { 3 };
        assert_eq!(*model.shown.lock().unwrap(), [expected]);
    }
}
