//! P19: `http_request` to a place with a declared probe, killed between call and answer over and over.
//! The far side does a request up to so late, or never, and is the ledger of what it did.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use ops_testkit::{DataDir, Http, Launch, wait_until};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::{
    plan::Luck,
    wire::{WireRequest, answer, say_placed},
    world::{in_doubt, task},
};

/// Calls that a kill has to find between request and answer.
const CUTS: usize = 100;
/// How late a request takes effect at most, in milliseconds; `OPSPAWN_TEST_LATE_MS=5000` for the long
/// way of it.
const LATE_MS: u64 = 500;
const TASKS: usize = 6;
/// Requests of each task, one after another.
const WRITES: usize = 16;

/// A request as the far side knows it.
struct Request {
    id: String,
    key: String,
    /// When it takes effect; none if it never does.
    effect: Option<Instant>,
    answered: bool,
}

/// The far side: it does whatever reaches it, and knows no request by its key.
#[derive(Default)]
struct Shop {
    requests: Mutex<Vec<Request>>,
    luck: Mutex<Option<Luck>>,
    /// Whether requests are lost, and answers held back.
    rough: std::sync::atomic::AtomicBool,
    late_ms: u64,
}

impl Shop {
    fn is_rough(&self) -> bool {
        self.rough.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn roll(&self, sides: usize) -> usize {
        self.luck.lock().unwrap().as_mut().unwrap().below(sides)
    }

    /// Takes a request in; says its place in the list.
    fn take(&self, id: String, key: String) -> usize {
        let lost = self.is_rough() && self.roll(3) == 0;
        let late = Duration::from_millis(self.roll(usize::try_from(self.late_ms).unwrap()) as u64);
        let mut requests = self.requests.lock().unwrap();
        requests.push(Request {
            id,
            key,
            effect: (!lost).then(|| Instant::now() + late),
            answered: false,
        });
        requests.len() - 1
    }

    fn has(&self, key: &str) -> bool {
        let now = Instant::now();
        let requests = self.requests.lock().unwrap();
        let took = |request: &&Request| request.key == key && request.effect.is_some();
        requests
            .iter()
            .filter(took)
            .any(|request| request.effect.unwrap() <= now)
    }

    /// The places of the requests that have come and have no answer.
    fn open(&self) -> Vec<usize> {
        let requests = self.requests.lock().unwrap();
        let open = requests
            .iter()
            .enumerate()
            .filter(|(_, request)| !request.answered);
        open.map(|(at, _)| at).collect()
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) -> std::io::Result<()> {
        let Some(asked) = WireRequest::read(&mut stream).await? else {
            return Ok(());
        };
        if let Some(key) = asked.asks_for() {
            return say_placed(&mut stream, self.has(key)).await;
        }
        let key = asked.field("idempotency-key:");
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let id = body["id"].as_str().unwrap().to_owned();
        let at = self.take(id, key.expect("a request carries its key"));
        let effect = self.requests.lock().unwrap()[at].effect;
        match effect {
            // It answers once it has done it, and in rough times somewhat later.
            Some(effect) => {
                tokio::time::sleep_until(effect).await;
                if self.is_rough() {
                    tokio::time::sleep(Duration::from_millis(self.late_ms)).await;
                }
            }
            None => std::future::pending().await,
        }
        self.requests.lock().unwrap()[at].answered = true;
        stream.write_all(answer(201, "placed").as_bytes()).await
    }
}

fn late_ms() -> u64 {
    let asked = std::env::var("OPSPAWN_TEST_LATE_MS").ok();
    asked.map_or(LATE_MS, |text| text.parse().unwrap())
}

/// A task that places so many orders, one after another.
fn order(url: &str, number: usize) -> Value {
    let mut script = String::from("name = \"orders\"\n");
    for write in 0..WRITES {
        script.push_str(&format!(
            "[[turn]]\ncalls = [ {{ tool = \"http_request\", arguments = {{ url = \"{url}/orders\", \
             method = \"POST\", json = {{ id = \"{number}-{write}\" }} }} }} ]\n"
        ));
    }
    script.push_str("[[turn]]\nanswer = \"all placed\"\n");
    json!({"task_type": "agent_run", "input_data": {
        "prompt": "order", "agent_config": {"provider": "scripted", "script": script},
    }})
}

/// What the logs of the tasks say.
#[derive(Default, Debug)]
struct Logs {
    saw: BTreeMap<String, usize>,
    reruns: usize,
    machine_steps: usize,
}

async fn read(http: &Http, id: &str, logs: &mut Logs) {
    let mut after = 0;
    // By step: when `not_done` begins to count, and how often the call began.
    let mut settles: BTreeMap<u64, i64> = BTreeMap::new();
    loop {
        let path = format!("/api/v1/tasks/{id}/events?after={after}&limit=500");
        let page: Value = http.get(&path).await.unwrap().ok().unwrap().json().unwrap();
        let events = page["events"].as_array().unwrap();
        let Some(last) = events.last() else { break };
        after = last["seq"].as_u64().unwrap();
        for event in events {
            let data = &event["data"];
            let step = data["step"].as_u64().unwrap_or(0);
            match event["type"].as_str().unwrap() {
                "tool.probed" => {
                    let saw = data["saw"].as_str().unwrap().to_owned();
                    *logs.saw.entry(saw).or_default() += 1;
                    settles.insert(step, data["settles_micros"].as_i64().unwrap());
                }
                // A call is made again only by what the probe saw.
                "tool.resolved" if settles.remove(&step).is_some() => logs.reruns += 1,
                _ => {}
            }
        }
    }
    let path = format!("/api/v1/tasks/{id}/steps?limit=1000");
    let page: Value = http.get(&path).await.unwrap().ok().unwrap().json().unwrap();
    for step in page["steps"].as_array().unwrap() {
        if step["initiator"] == "machine" {
            logs.machine_steps += 1;
            assert_eq!(
                (&step["kind"], &step["name"]),
                (&json!("tool"), &json!("http_fetch"))
            );
            assert_eq!(step["effect"], "idempotent");
        }
    }
}

#[tokio::test]
async fn a_probed_request_is_never_done_twice_and_never_parks() {
    let late_ms = late_ms();
    let settle_ms = late_ms + 200;
    let shop = Arc::new(Shop {
        luck: Mutex::new(Some(Luck(20_261_130))),
        rough: true.into(),
        late_ms,
        ..Shop::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let test_dir = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn({
        let shop = Arc::clone(&shop);
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&shop).serve(stream));
            }
        }
    });
    let data = DataDir::new().unwrap();
    let folder = data.join("product");
    std::fs::create_dir(&folder).unwrap();
    let url = format!("http://{test_dir}");
    let config = format!(
        "[tools.http]\nallow = [\"{test_dir}\"]\n\n[[tools.http.writes]]\nurl = \"{url}/orders\"\n\
         methods = [\"POST\"]\n[tools.http.writes.probe]\nurl = \"/orders/{{key}}\"\n\
         settle = \"{settle_ms}ms\"\non_not_done = \"rerun\"\nnot_done = {{ status = 404 }}\n\
         done = {{ status = 200, at = \"/state\", is = \"placed\" }}\n"
    );
    std::fs::write(folder.join("opspawn.toml"), config).unwrap();
    let launch = Launch::dev(&folder)
        .binary(env!("CARGO_BIN_EXE_opspawn"))
        .env("OPSPAWN_MAX_LEASE_LOSSES", "1000")
        .env("OPSPAWN_CONCURRENCY", TASKS.to_string());

    let mut server = launch.start().await.unwrap();
    let mut ids = Vec::new();
    for number in 0..TASKS {
        let body = order(&url, number);
        let reply = server.http().post("/api/v1/tasks", &body).await.unwrap();
        let accepted: Value = reply.ok().unwrap().json().unwrap();
        ids.push(accepted["task_id"].as_str().unwrap().to_owned());
    }

    let (mut cuts, mut kills, mut dead) = (0, 0, Vec::new());
    while cuts < CUTS {
        // Several calls are between request and answer, or have been for a while.
        let begun = Instant::now();
        let open = loop {
            let open: Vec<usize> = shop.open();
            let open: Vec<usize> = open.into_iter().filter(|at| !dead.contains(at)).collect();
            let patience = Duration::from_millis(late_ms);
            if open.len() >= TASKS - 1 || (!open.is_empty() && begun.elapsed() > patience * 3) {
                break open;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{cuts}\n{}",
                server.output()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(
            in_doubt(server.http()).await.unwrap(),
            Vec::<Value>::new(),
            "none parks"
        );
        server.sigkill().unwrap();
        server.wait_exit(Duration::from_secs(10)).await.unwrap();
        kills += 1;
        // Those had come before, and the process was gone before they were answered.
        let unanswered = shop.open();
        cuts += open.iter().filter(|at| unanswered.contains(at)).count();
        dead.extend(unanswered);
        server = launch.start().await.unwrap();
    }

    shop.rough.store(false, std::sync::atomic::Ordering::SeqCst);
    let http = server.http().clone();
    for id in &ids {
        let ended = wait_until("the task ends", Duration::from_secs(90), || async {
            let task = task(&http, id).await.ok()?;
            let state = task["state"].as_str()?.to_owned();
            ["completed", "failed", "waiting"]
                .contains(&&*state)
                .then_some(())?;
            (state != "waiting" || task["wait"]["on"] == "in_doubt").then_some(task)
        });
        let task = ended.await.unwrap();
        assert_eq!(task["state"], "completed", "{task:#}");
        assert_eq!(task["result"]["answer"], "all placed");
    }
    // What is still late takes effect, if anything is.
    tokio::time::sleep(Duration::from_millis(late_ms)).await;
    let mut effects: BTreeMap<String, usize> = BTreeMap::new();
    for request in shop.requests.lock().unwrap().iter() {
        *effects.entry(request.id.clone()).or_default() += usize::from(request.effect.is_some());
    }
    assert_eq!(effects.len(), TASKS * WRITES);
    let wrong: Vec<_> = effects.iter().filter(|(_, count)| **count != 1).collect();
    assert!(wrong.is_empty(), "each order is placed once: {wrong:?}");

    let mut logs = Logs::default();
    for id in &ids {
        read(&http, id, &mut logs).await;
    }
    let requests = shop.requests.lock().unwrap().len();
    println!("kills {kills}, cut calls {cuts}, requests {requests}, {logs:?}");
    // The log shows what the probe saw, of both kinds, and each look is a step of the machine's.
    assert!(
        logs.saw["done"] >= 10 && logs.saw["not_done"] >= 20,
        "{logs:?}"
    );
    assert!(requests <= TASKS * WRITES + logs.reruns, "{logs:?}");
    assert!(logs.reruns >= 10 && logs.machine_steps >= 30, "{logs:?}");
    assert!(
        server
            .stop(Duration::from_secs(30))
            .await
            .unwrap()
            .success()
    );
    serving.abort();
}
