//! P19 in all ways in which a call leaves the process: a tool of the program, MCP over stdio and over HTTP,
//! `http_request` and a command tool. The process is killed over and over right after a write took effect, and while
//! answers are held back; answers are cut at any byte while it lives: those of the place, which a gateway loses as well, the first one to each write
//! over HTTP, and some over stdio, where the server dies with it.
//!
//! Each far side writes down what it did. A key makes the calls of one write one effect where the far side knows it;
//! a place and a program that know no keys have a probe.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use ops_testkit::{DataDir, Http, Launch, Ledger, McpStub, mcp_stub, wait_until};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    plan::Luck,
    wire::{WireRequest, answer, say_placed},
    world::{in_doubt, task},
};

/// Writes of an ordinary run; `OPSPAWN_SETTLE_WRITES=1000` for as many as the promise names.
const WRITES: usize = 60;
/// Writes of each task: one for each way.
const WAYS: usize = 5;
/// Tasks at once.
const AT_ONCE: usize = 6;
const TIMEOUT: Duration = Duration::from_secs(120);

/// A place on the web that does what it is told, and knows no keys of requests.
struct Shop {
    /// Effects: the order and the key that came with it.
    orders: Mutex<Vec<(String, String)>>,
    luck: Mutex<Luck>,
    /// Whether answers are held back and cut.
    rough: AtomicBool,
    /// Answers that are held back now.
    held: AtomicUsize,
    /// Answers that were cut.
    cut: AtomicUsize,
    /// Answers that a gateway gave in place of the place.
    late: AtomicUsize,
}

impl Shop {
    fn has(&self, key: &str) -> bool {
        let orders = self.orders.lock().unwrap();
        orders.iter().any(|(_, one)| one == key)
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) -> std::io::Result<()> {
        let Some(asked) = WireRequest::read(&mut stream).await? else {
            return Ok(());
        };
        if let Some(key) = asked.asks_for() {
            return say_placed(&mut stream, self.has(key)).await;
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let key = asked.field("idempotency-key:");
        let key = key.expect("a request carries its key");
        let id = body["id"].as_str().unwrap().to_owned();
        self.orders.lock().unwrap().push((id, key));
        let text = answer(201, "placed");
        let (fate, at) = {
            let mut luck = self.luck.lock().unwrap();
            (luck.below(4), luck.below(text.len()))
        };
        match fate {
            0 if self.rough.load(SeqCst) => {
                self.held.fetch_add(1, SeqCst);
                // Until the one who waits is gone.
                let mut rest = [0; 1];
                let _ = stream.read(&mut rest).await;
                self.held.fetch_sub(1, SeqCst);
                Ok(())
            }
            1 if self.rough.load(SeqCst) => {
                self.cut.fetch_add(1, SeqCst);
                stream.write_all(&text.as_bytes()[..at]).await
            }
            // A gateway before the place has waited long enough.
            2 if self.rough.load(SeqCst) => {
                self.late.fetch_add(1, SeqCst);
                let late = "HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(late.as_bytes()).await
            }
            _ => stream.write_all(text.as_bytes()).await,
        }
    }
}

/// The far sides, and the product's folder.
struct FarSides {
    data: DataDir,
    shop: Arc<Shop>,
    shop_url: String,
    ledger: Ledger,
    remote: McpStub,
}

impl FarSides {
    async fn new() -> Self {
        let data = DataDir::new().unwrap();
        let folder = data.join("product");
        fs::create_dir_all(folder.join("tools")).unwrap();
        let shop = Arc::new(Shop {
            orders: Mutex::default(),
            luck: Mutex::new(Luck(20_261_201)),
            rough: true.into(),
            held: 0.into(),
            cut: 0.into(),
            late: 0.into(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::clone(&shop);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&served).serve(stream));
            }
        });
        let ledger = Ledger::start(data.join("ledger.log"), &["--latency-ms", "30"]);
        let plan = json!({"log": data.join("remote.log"), "cut": 1});
        let remote = McpStub::start(&plan);
        let places = Self {
            shop,
            shop_url: format!("http://{address}"),
            ledger: ledger.await.unwrap(),
            remote: remote.await.unwrap(),
            data,
        };
        places.configure(&folder);
        places
    }

    fn configure(&self, folder: &Path) {
        let written = self.data.join("programs");
        fs::create_dir(&written).unwrap();
        let written = written.canonicalize().unwrap();
        let program = |name: &str, text: &str| {
            let path = folder.join("tools").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        // It takes effect, and returns a little later.
        program(
            "act.sh",
            "#!/bin/sh\necho $OPSPAWN_CALL_KEY >> $1\nsleep 0.2\necho done\n",
        );
        program(
            "look.sh",
            "#!/bin/sh\nif grep -qs -- \"$2\" \"$1\"; then echo '\"done\"'; else echo '\"not_done\"'; fi\n",
        );
        let url = &self.shop_url;
        let remote = self.remote.url();
        let place = |url: &str| {
            url.trim_start_matches("http://")
                .split('/')
                .next()
                .unwrap()
                .to_owned()
        };
        let config = format!(
            "[tools.http]\nallow = [\"{0}\", \"{2}\"]\n\n[[tools.http.writes]]\nurl = \"{url}/orders\"\n\
             methods = [\"POST\"]\n[tools.http.writes.probe]\nurl = \"/orders/{{key}}\"\nsettle = \"300ms\"\n\
             on_not_done = \"rerun\"\nnot_done = {{ status = 404 }}\n\
             done = {{ status = 200, at = \"/state\", is = \"placed\" }}\n\n\
             [tools.command.act]\ndescription = 'x'\nfolder = 'tools'\nwrite = ['{1}']\nworkspace = 'none'\n\
             command = ['/tool/act.sh', '{1}/{{id}}']\ntext = true\neffect = 'write'\n\
             input = {{ type = 'object', properties = {{ id = {{ type = 'string' }} }}, required = ['id'] }}\n\
             [tools.command.act.probe]\ncommand = ['/tool/look.sh', '{1}/{{/arguments/id}}', '{{key}}']\n\
             settle = '300ms'\non_not_done = 'rerun'\n",
            place(url),
            written.display(),
            place(&remote),
        );
        fs::write(folder.join("opspawn.toml"), config).unwrap();
        let keyed = json!({"write": {"effect": "keyed"}});
        let plan = json!({"log": self.data.join("local.log"), "cut": 6});
        let servers = json!({"mcpServers": {
            "near": {"command": mcp_stub().unwrap(), "args": [plan.to_string()], "tools": keyed},
            "far": {"url": remote, "tools": keyed},
        }});
        fs::write(folder.join("mcp_servers.json"), servers.to_string()).unwrap();
    }

    fn launch(&self) -> Launch {
        Launch::dev(self.data.join("product"))
            .binary(env!("CARGO_BIN_EXE_opspawn"))
            .env("OPSPAWN_TEST_LEDGER", self.ledger.http().base())
            .env("OPSPAWN_MAX_LEASE_LOSSES", "1000")
            .env("OPSPAWN_CONCURRENCY", AT_ONCE.to_string())
    }

    /// A task that writes once in each way.
    fn writes(&self, id: &str) -> Value {
        let proxy = |server: &str| {
            format!(
                "tool = \"mcp_proxy_tool\", arguments = {{ server_name = \"{server}\", tool_name = \"write\", \
                 arguments = {{ id = \"{id}\" }} }}"
            )
        };
        let calls = [
            format!("tool = \"ledger_keyed\", arguments = {{ key = \"{id}\" }}"),
            proxy("near"),
            proxy("far"),
            format!(
                "tool = \"http_request\", arguments = {{ url = \"{}/orders\", method = \"POST\", json = {{ id = \"{id}\" }} }}",
                self.shop_url
            ),
            format!("tool = \"act\", arguments = {{ id = \"{id}\" }}"),
        ];
        let turns: String = calls
            .iter()
            .map(|call| format!("[[turn]]\ncalls = [ {{ {call} }} ]\n"))
            .collect();
        let script = format!("{turns}[[turn]]\nanswer = \"written\"\n");
        json!({"task_type": "agent_run", "input_data": {
            "prompt": "write", "agent_config": {"provider": "scripted", "script": script},
        }})
    }

    /// The calls that a server of MCP wrote down: id and key.
    fn logged(&self, name: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.data.join(name)).unwrap_or_default();
        // The last line may be on its way.
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let lines = lines.filter(|line| line["tool"] == "write");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        lines
            .map(|line| (text(&line["arguments"]["id"]), text(&line["key"])))
            .collect()
    }

    /// How often a write was asked for so far, in all ways.
    fn requests(&self) -> usize {
        let programs = fs::read_dir(self.data.join("programs")).unwrap();
        let programs = programs.map(|entry| {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            text.lines().count()
        });
        self.ledger.effects().unwrap().len()
            + self.logged("local.log").len()
            + self.logged("remote.log").len()
            + self.shop.orders.lock().unwrap().len()
            + programs.sum::<usize>()
    }

    /// How often each way did each write.
    fn effects(&self) -> [BTreeMap<String, usize>; WAYS] {
        // Far sides that know keys do a write once for each.
        let by_key = |lines: Vec<(String, String)>| {
            let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (id, key) in lines {
                keys.entry(id).or_default().insert(key);
            }
            keys.into_iter()
                .map(|(id, keys)| (id, keys.len()))
                .collect::<BTreeMap<_, _>>()
        };
        let local = self.ledger.effects().unwrap().into_iter();
        let local = local.map(|effect| (effect.key, effect.call_key.to_string()));
        let mut ordered: BTreeMap<String, usize> = BTreeMap::new();
        for (id, _) in self.shop.orders.lock().unwrap().iter() {
            *ordered.entry(id.clone()).or_default() += 1;
        }
        let programs = fs::read_dir(self.data.join("programs")).unwrap();
        let programs = programs.map(|entry| {
            let path = entry.unwrap().path();
            let id = path.file_name().unwrap().to_str().unwrap().to_owned();
            (id, fs::read_to_string(&path).unwrap().lines().count())
        });
        [
            by_key(local.collect()),
            by_key(self.logged("local.log")),
            by_key(self.logged("remote.log")),
            ordered,
            programs.collect(),
        ]
    }
}

/// The ways whose write lost an answer, by the task's log: the call was begun again, or looked for.
async fn lost(http: &Http, id: &str) -> Vec<usize> {
    let path = format!("/api/v1/tasks/{id}/events?limit=500");
    let page: Value = http.get(&path).await.unwrap().ok().unwrap().json().unwrap();
    let events = page["events"].as_array().unwrap();
    assert!(events.len() < 500, "a page has the whole log");
    let mut calls: BTreeMap<u64, (usize, bool)> = BTreeMap::new();
    for event in events {
        let step = event["data"]["step"].as_u64().unwrap_or(0);
        match event["type"].as_str().unwrap() {
            "tool.called" => drop(calls.insert(step, (0, false))),
            "tool.started" => calls.entry(step).or_default().0 += 1,
            "tool.probed" | "tool.resolved" => calls.entry(step).or_default().1 = true,
            _ => {}
        }
    }
    // Probes are calls of the machine.
    let path = format!("/api/v1/tasks/{id}/steps?limit=1000");
    let page: Value = http.get(&path).await.unwrap().ok().unwrap().json().unwrap();
    for step in page["steps"].as_array().unwrap() {
        if step["initiator"] == "machine" {
            calls.remove(&step["step"].as_u64().unwrap());
        }
    }
    let calls = calls.into_values().enumerate();
    let lost = calls.filter(|(_, (begun, is_looked_for))| *begun > 1 || *is_looked_for);
    lost.map(|(way, _)| way).collect()
}

/// Whether a task is over, or waits for a person.
async fn is_settled(http: &Http, id: &str) -> Option<Value> {
    let task = task(http, id).await.ok()?;
    let state = task["state"].as_str()?;
    let ended = ["completed", "failed", "cancelled"].contains(&state);
    (ended || task["wait"]["on"] == "in_doubt").then_some(task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_settled_in_every_way() {
    let wanted = std::env::var("OPSPAWN_SETTLE_WRITES").ok();
    let writes = wanted.map_or(WRITES, |text| text.parse().unwrap());
    let tasks = writes.div_ceil(WAYS);
    let kills = (tasks / 2).max(3);
    let mut luck = Luck(20_261_202);
    let places = FarSides::new().await;
    let launch = places.launch();
    let mut server = launch.start().await.unwrap();
    let listed = |http: Http| async move {
        wait_until("the lists of both servers", TIMEOUT, || async {
            for name in ["near", "far"] {
                let reply = http
                    .get(&format!("/api/v1/mcp/servers/{name}"))
                    .await
                    .ok()?;
                let server: Value = reply.ok().ok()?.json().ok()?;
                (!server["approved"].is_null()).then_some(())?;
            }
            Some(())
        })
        .await
        .unwrap();
    };
    listed(server.http().clone()).await;
    let mut ids = Vec::new();
    for number in 0..tasks {
        let body = places.writes(&format!("w{number}"));
        let reply = server.http().post("/api/v1/tasks", &body).await.unwrap();
        let accepted: Value = reply.ok().unwrap().json().unwrap();
        ids.push(accepted["task_id"].as_str().unwrap().to_owned());
    }
    // Each kill finds a write that took effect a moment ago or an answer that is held back, and whatever else is under
    // way.
    let mut killed = 0;
    while killed < kills {
        let http = server.http().clone();
        let enough = places.requests() + 1 + luck.below(12);
        let found = wait_until(
            "writes, an answer that is held back, or all is over",
            TIMEOUT,
            || async {
                if places.shop.held.load(SeqCst) > 0 || places.requests() >= enough {
                    return Some(true);
                }
                for id in &ids {
                    is_settled(&http, id).await?;
                }
                Some(false)
            },
        );
        if !found.await.unwrap() {
            break;
        }
        server.sigkill().unwrap();
        server.wait_exit(Duration::from_secs(10)).await.unwrap();
        killed += 1;
        let gone = wait_until("the far side sees that it is gone", TIMEOUT, || async {
            (places.shop.held.load(SeqCst) == 0).then_some(())
        });
        gone.await.unwrap();
        server = launch.start().await.unwrap();
    }
    places.shop.rough.store(false, SeqCst);
    let http = server.http().clone();
    let mut parked = 0;
    for id in &ids {
        let settled = wait_until("the task is settled", TIMEOUT, || is_settled(&http, id));
        let settled = settled.await.unwrap();
        match settled["state"].as_str() {
            Some("completed") => assert_eq!(settled["result"]["answer"], "written", "{settled:#}"),
            _ => parked += 1,
        }
    }
    assert_eq!(in_doubt(&http).await.unwrap().len(), parked);
    let mut hit = [0; WAYS];
    for id in &ids {
        for way in lost(&http, id).await {
            hit[way] += 1;
        }
    }
    // What was sent again below the engine is not in the log of the task.
    let sent_again = ["local.log", "remote.log"].map(|name| {
        let lines = places.logged(name);
        lines.len() - lines.iter().collect::<BTreeSet<_>>().len()
    });
    println!(
        "writes {}, kills {killed}, cut answers of the place {}, answers of a gateway {}, calls that lost an answer \
         {hit:?}, sent again over MCP {sent_again:?}, parked {parked}",
        tasks * WAYS,
        places.shop.cut.load(SeqCst),
        places.shop.late.load(SeqCst)
    );
    assert!(
        killed >= 1 && places.shop.cut.load(SeqCst) + killed >= 3,
        "faults landed"
    );
    assert!(
        sent_again[1] + hit[2] >= tasks.div_ceil(2),
        "answers over HTTP were cut"
    );
    assert!(
        parked * 100 <= tasks * WAYS,
        "{parked} writes wait for a person"
    );
    for (way, effects) in ["local", "stdio", "HTTP", "request", "program"]
        .iter()
        .zip(places.effects())
    {
        let wrong: Vec<_> = effects.iter().filter(|(_, count)| **count != 1).collect();
        assert!(wrong.is_empty(), "{way}: not done once: {wrong:?}");
        assert!(
            effects.len() + parked >= tasks,
            "{way}: lost: {} of {tasks}",
            effects.len()
        );
    }
    assert!(
        server
            .stop(Duration::from_secs(30))
            .await
            .unwrap()
            .success()
    );
}
