//! Opaque parts of an answer survive a kill: what the provider is sent afterwards is, to the byte,
//! what it would have been sent before.

use std::time::Duration;

use ops_testkit::{Answer, StandIn, wait_until};
use serde_json::json;

use super::{tasks, test_dir::TestDir};
use crate::provider::{GENERATE_CONTENT, MESSAGES, OPENROUTER, RESPONSES, Wire};

async fn survives(wire: Wire, opaque: &[&str], stream: bool) {
    let (calls, good) = (
        wire.recorded("opaque", stream),
        wire.recorded("good", stream),
    );
    let stand_in = StandIn::start(move |asked| match (asked.nth, asked.repeat) {
        (0, _) => Answer::Whole(calls.clone()),
        (_, 0) => Answer::Silence,
        _ => Answer::Whole(good.clone()),
    })
    .await
    .unwrap();
    let test_dir = TestDir::new();
    let dev = wire.launch(test_dir.dev(), stand_in.url(), stream);
    let mut server = dev.start().await.unwrap();
    let body = json!({"task_type": "agent_run", "input_data":
        {"goal": "look", "files": {"ä.csv": "a,b"}}});
    let id = tasks::submit(server.http(), &body).await;
    let asked = || async { (stand_in.bodies().len() == 2).then_some(()) };
    wait_until("the second request", Duration::from_secs(30), asked)
        .await
        .unwrap();
    server.sigkill().unwrap();

    let server = dev.start().await.unwrap();
    assert_eq!(tasks::answer(server.http(), &id).await, "Grüße 😀");
    let bodies = stand_in.bodies();
    assert_eq!(bodies.len(), 3);
    for part in opaque {
        assert!(bodies[1].contains(part), "{part} in {}", bodies[1]);
    }
    assert_eq!(bodies[1], bodies[2], "{wire:?} {stream}");
}

#[tokio::test]
async fn opaque_parts_survive_a_kill_byte_for_byte() {
    for stream in [true, false] {
        let parts = ["gAAAAABo/T3BhcXVlAbC=="];
        survives(RESPONSES, &parts, stream).await;
        let parts = [
            "EqQBCkgIARABGAIiQL+/T3BhcXVlAbC==",
            "EmwKAhgBEgy3va3pzix/LafPsn4a==",
        ];
        survives(MESSAGES, &parts, stream).await;
        let parts = ["CiQB0e2Kb/T3BhcXVl+AbC=="];
        survives(GENERATE_CONTENT, &parts, stream).await;
        let parts = ["T3BhcXVlQWJDPT0="];
        survives(OPENROUTER, &parts, stream).await;
    }
}
