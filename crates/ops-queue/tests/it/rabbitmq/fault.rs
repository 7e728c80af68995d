//! What becomes of wake-ups when the broker, a queue or a worker is not as it should be.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use ops_core::ports::{FoundBy, Queue as _};
use ops_testkit::rabbitmq::{VirtualHost, control};

use super::{Client, Process, until, woken};

const QUEUE: &str = "opspawn.default";

/// Makes the broker as it was, also where a test fails.
struct Resets(&'static [&'static str]);

impl Drop for Resets {
    fn drop(&mut self) {
        control(self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RabbitMQ: run by cargo xtask test --install"]
async fn a_message_wakes_one_worker_and_is_acknowledged_after_its_claim() {
    let host = VirtualHost::create();
    let (server, one, two) = (
        Process::start(&host),
        Process::start(&host),
        Process::start(&host),
    );
    server.rings().await;
    // One after the other: where two declare a quorum queue at the same moment, RabbitMQ may fail one of them.
    let first = one.wait();
    until("it consumes", || host.queue(QUEUE)[2] == 1).await;
    let second = two.wait();
    until("both consume", || host.queue(QUEUE)[2] == 2).await;
    server.wake();
    until("the message is on its way", || host.queue(QUEUE)[1] == 1).await;
    until("a worker is woken", || {
        first.is_finished() || second.is_finished()
    })
    .await;
    assert!(
        !(first.is_finished() && second.is_finished()),
        "one message woke two"
    );
    let (taken, other) = match first.is_finished() {
        true => (first, second),
        false => (second, first),
    };
    let wakeup = woken(taken).await;
    // The claim is under way: the message is still the broker's.
    assert_eq!(host.queue(QUEUE)[..2], [0, 1]);
    drop(wakeup);
    until("it is acknowledged", || host.queue(QUEUE)[..2] == [0, 0]).await;
    server.wake();
    drop(woken(other).await);
    until("both are confirmed", || server.0.counts().rung == 2).await;
    assert!(server.health().warnings.is_empty(), "{:?}", server.health());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RabbitMQ: run by cargo xtask test --install"]
async fn a_worker_without_a_slot_keeps_no_message_from_others() {
    let host = VirtualHost::create();
    let (server, busy, idle) = (
        Process::start(&host),
        Process::start(&host),
        Process::start(&host),
    );
    server.rings().await;
    let waiting = busy.wait();
    server.wake();
    // Its slots are taken from now on: it does not wait.
    drop(woken(waiting).await);
    server.wake();
    let wakeup = woken(idle.wait()).await;
    drop(wakeup);
    until("it consumes no more", || {
        host.queue(QUEUE) == [0, 0, 1] || host.queue(QUEUE) == [0; 3]
    })
    .await;
    // What it cannot take is passed on.
    busy.0.pass_on("default");
    drop(woken(idle.wait()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RabbitMQ: run by cargo xtask test --install"]
async fn a_broker_that_is_away_at_the_start_and_later_costs_delay_only() {
    let host = VirtualHost::create();
    let _resets = Resets(&["start_app"]);
    control(&["stop_app"]);
    let (server, worker) = (Process::start(&host), Process::start(&host));
    let waiting = worker.wait();
    until("it is told", || {
        !server.health().warnings.is_empty() && !worker.health().warnings.is_empty()
    })
    .await;
    let told = server.health();
    assert_eq!(told.state, "away");
    assert!(told.warnings[0].contains("queue.url"), "{told:?}");
    assert!(!told.warnings[0].contains("p@ss"), "{told:?}");
    assert!(!server.0.rings("default"));
    // The store wakes workers: a notification of a server that could not ring.
    worker
        .0
        .found("default", FoundBy::Notification { rung: false });
    drop(woken(waiting).await);
    // So does a wake-up within the process.
    let waiting = worker.wait();
    worker.wake();
    drop(woken(waiting).await);

    control(&["start_app"]);
    server.rings().await;
    for _ in 0..2 {
        until("all is well", || {
            server.health().warnings.is_empty() && worker.health().warnings.is_empty()
        })
        .await;
        // Wake-ups of the store that are left over are no messages.
        let before = worker.0.counts().received;
        server.wake();
        while worker.0.counts().received == before {
            drop(woken(worker.wait()).await);
        }
        let waiting = worker.wait();
        until("there is one consumer", || host.queue(QUEUE)[2] == 1).await;
        control(&["stop_app"]);
        control(&["start_app"]);
        // It is woken, as messages may be lost.
        drop(woken(waiting).await);
        server.rings().await;
    }
    assert!(
        server.0.counts().connections >= 3,
        "the restarts were not noticed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RabbitMQ: run by cargo xtask test --install"]
async fn a_queue_with_other_arguments_is_told_and_left_alone() {
    let host = VirtualHost::create();
    let client = Client::connect(&host).await;
    client.declare_classic(FieldTable::default()).await;
    let often = |options: &mut ops_queue::rabbit::Options| {
        options.declare_again = std::time::Duration::from_millis(500);
    };
    let (server, worker) = (Process::with(&host, often), Process::with(&host, often));
    server.rings().await;
    let waiting = worker.wait();
    server.wake();
    for process in [&server, &worker] {
        until("it is told", || process.health().state == "degraded").await;
        let told = process.health().warnings.join("\n");
        // The broker names the first argument that differs.
        for part in [
            QUEUE,
            "`x-max-length` is none, and Opspawn needs `64`",
            "rabbitmqctl delete_queue",
        ] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
    }
    // Nobody would take a message out of it.
    assert_eq!(host.queue(QUEUE), [0, 0, 0]);
    assert!(!server.0.rings("default"));
    worker
        .0
        .found("default", FoundBy::Notification { rung: true });
    drop(woken(waiting).await);
    for process in [&server, &worker] {
        assert!(process.0.counts().connections <= 2, "a loop of connections");
    }

    control(&["delete_queue", "-p", &host.name, QUEUE]);
    until("the queue is made", || worker.health().state == "connected").await;
    server.wake();
    server.rings().await;
    let before = worker.0.counts().received;
    server.wake();
    while worker.0.counts().received == before {
        drop(woken(worker.wait()).await);
    }

    let mut arguments = FieldTable::default();
    arguments.insert("x-max-priority".into(), AMQPValue::ShortShortUInt(3));
    control(&["delete_queue", "-p", &host.name, QUEUE]);
    client.declare_classic(arguments).await;
    let late = Process::start(&host);
    let _waiting = late.wait();
    until("it is told", || late.health().state == "degraded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RabbitMQ: run by cargo xtask test --install"]
async fn a_message_without_a_queue_comes_back_and_the_queue_is_made_again() {
    let host = VirtualHost::create();
    let (server, worker) = (Process::start(&host), Process::start(&host));
    server.rings().await;
    server.wake();
    until("the queue is known", || server.0.counts().rung == 1).await;
    control(&["delete_queue", "-p", &host.name, QUEUE]);
    server.wake();
    until("the message came back", || server.0.counts().returned == 1).await;
    until("it was sent again", || server.0.counts().rung == 2).await;
    let before = worker.0.counts().received;
    drop(woken(worker.wait()).await);
    assert!(worker.0.counts().received > before, "the message was lost");

    // A worker whose queue is deleted below it consumes from the new one.
    let waiting = worker.wait();
    until("it consumes", || host.queue(QUEUE)[2] == 1).await;
    control(&["delete_queue", "-p", &host.name, QUEUE]);
    drop(woken(waiting).await);
    let _waiting = worker.wait();
    until("it consumes again", || host.queue(QUEUE)[2] == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RabbitMQ: run by cargo xtask test --install"]
async fn a_broker_without_memory_holds_up_nobody() {
    let host = VirtualHost::create();
    let (server, worker) = (Process::start(&host), Process::start(&host));
    server.rings().await;
    let waiting = worker.wait();
    until("it consumes", || host.queue(QUEUE)[2] == 1).await;
    let _resets = Resets(&["set_vm_memory_high_watermark", "absolute", "1GB"]);
    control(&["set_vm_memory_high_watermark", "absolute", "1"]);
    for _ in 0..100 {
        server.wake();
    }
    until("it is told", || server.health().state == "blocked").await;
    assert!(
        server.health().warnings[0].contains("memory"),
        "{:?}",
        server.health()
    );
    // The process itself goes on, and the connection that consumes is none of the blocked ones.
    let local = server.wait();
    server.wake();
    drop(woken(local).await);
    assert_eq!(worker.health().state, "connected");
    let passed = server.0.counts().rung;
    control(&["set_vm_memory_high_watermark", "absolute", "1GB"]);
    server.rings().await;
    drop(woken(waiting).await);
    until("what was rung meanwhile is sent", || {
        server.0.counts().rung > passed
    })
    .await;
    assert!(server.0.counts().rung < 10, "wake-ups were not coalesced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RabbitMQ: run by cargo xtask test --install"]
async fn a_claim_that_takes_longer_than_the_broker_waits_is_harmless() {
    let host = VirtualHost::create();
    let _resets = Resets(&[
        "eval",
        "application:set_env(rabbit, consumer_timeout, 1800000).",
    ]);
    control(&[
        "eval",
        "application:set_env(rabbit, consumer_timeout, 1000).",
    ]);
    let (server, worker) = (Process::start(&host), Process::start(&host));
    server.rings().await;
    let waiting = worker.wait();
    server.wake();
    let late = woken(waiting).await;
    let again = woken(worker.wait()).await;
    drop(late);
    drop(again);
    // The message comes again, to whoever waits, and is acknowledged in the end.
    let mut waiting = worker.wait();
    until("the message comes again", || {
        if waiting.is_finished() {
            waiting = worker.wait();
        }
        worker.0.counts().received >= 2
    })
    .await;
    until("nothing is left", || {
        if waiting.is_finished() {
            waiting = worker.wait();
        }
        host.queue(QUEUE)[..2] == [0, 0]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RabbitMQ: run by cargo xtask test --install"]
async fn what_a_message_holds_decides_nothing() {
    let host = VirtualHost::create();
    let (server, worker) = (Process::start(&host), Process::start(&host));
    server.rings().await;
    server.wake();
    until("the queue is made", || server.0.counts().rung == 1).await;
    // Twice the same, with bodies and headers of whoever.
    let client = Client::connect(&host).await;
    let mut headers = FieldTable::default();
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(1_000));
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_type("task".into());
    for body in [&b"\xff\0{"[..], &[b'x'; 200_000]] {
        client.publish(body, properties.clone()).await;
    }
    for _ in 0..3 {
        drop(woken(worker.wait()).await);
    }
    until("nothing is left", || host.queue(QUEUE)[..2] == [0, 0]).await;
    assert_eq!(worker.0.counts().received, 3);
    // A message that is purged is lost; a look at the database wakes.
    for _ in 0..3 {
        server.wake();
        until("it is sent", || host.queue(QUEUE)[0] > 0).await;
    }
    control(&["purge_queue", "-p", &host.name, QUEUE]);
    worker.0.found("default", FoundBy::Look);
    drop(woken(worker.wait()).await);
    assert_eq!(worker.0.counts().received, 3, "the purge was none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs RabbitMQ: run by cargo xtask test --install"]
async fn messages_that_nobody_takes_are_few() {
    let host = VirtualHost::create();
    let server = Process::start(&host);
    server.rings().await;
    server.wake();
    until("the queue is made", || server.0.counts().rung == 1).await;
    let client = Client::connect(&host).await;
    for _ in 0..200 {
        client.publish(b"", BasicProperties::default()).await;
    }
    until("the oldest are dropped", || host.queue(QUEUE)[0] == 64).await;
}
