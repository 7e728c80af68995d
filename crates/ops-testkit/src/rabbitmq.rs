//! Virtual hosts for tests, on the broker that `cargo xtask test` starts.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use rustix::process::{Pid, Signal, kill_process};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A virtual host of its own; it is deleted with this.
pub struct VirtualHost {
    /// Its name.
    pub name: String,
}

impl VirtualHost {
    /// Creates a virtual host.
    ///
    /// # Panics
    /// If the broker was not started, or refuses, as everything here.
    pub fn create() -> Self {
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("t-{}-{number}", std::process::id());
        control(&["add_vhost", &name]);
        let host = Self { name };
        control(&[
            "set_permissions",
            "-p",
            &host.name,
            "opspawn",
            ".*",
            ".*",
            ".*",
        ]);
        host
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("{}/{}", variable("OPSPAWN_TEST_RABBITMQ"), self.name)
    }

    /// Its queues, each with messages that wait, messages that are not acknowledged, and consumers.
    pub fn queues(&self) -> Vec<(String, [u64; 3])> {
        let columns = [
            "name",
            "messages_ready",
            "messages_unacknowledged",
            "consumers",
        ];
        let host = ["list_queues", "-q", "--no-table-headers", "-p", &self.name];
        let table = control(&[&host[..], &columns[..]].concat());
        let row = |line: &str| {
            let mut cells = line.split('\t');
            let name = cells.next()?.to_owned();
            let mut number = || cells.next()?.trim().parse().ok();
            Some((name, [number()?, number()?, number()?]))
        };
        table.lines().filter_map(row).collect()
    }

    /// Puts empty messages into a queue. Returns the number of messages that the broker accepted, 0 for a missing queue.
    pub fn publish(&self, queue: &str, messages: usize) -> usize {
        let statement = format!(
            "X = rabbit_misc:r(<<\"{}\">>, exchange, <<>>), \
             Put = fun(_) -> rabbit_basic:publish(X, <<\"{queue}\">>, [], <<>>) end, \
             length([ok || ok <- [Put(N) || N <- lists:seq(1, {messages})]]).",
            self.name
        );
        if !self.queues().iter().any(|(known, _)| known == queue) {
            return 0;
        }
        let taken = control(&["eval", &statement]);
        taken.trim().parse().expect("a number of messages")
    }

    /// Purges the waiting messages of a queue. Returns whether the queue exists.
    pub fn purge(&self, queue: &str) -> bool {
        let is_there = self.queues().iter().any(|(known, _)| known == queue);
        if is_there {
            control(&["purge_queue", "-p", &self.name, queue]);
        }
        is_there
    }

    /// The numbers of a queue; zeros if it is not there.
    pub fn queue(&self, name: &str) -> [u64; 3] {
        let queues = self.queues().into_iter();
        let mut found = queues.filter(|(known, _)| known == name);
        found.next().map_or([0; 3], |(_, numbers)| numbers)
    }
}

impl Drop for VirtualHost {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            control(&["delete_vhost", &self.name]);
        }
    }
}

/// A broker under `SIGSTOP`: open connections stay open, requests stay unanswered. Dropping the guard sends `SIGCONT`.
pub struct Frozen(Pid);

impl Frozen {
    /// Stops the broker.
    #[expect(
        clippy::new_without_default,
        reason = "a default that stops a broker would surprise"
    )]
    pub fn new() -> Self {
        let told = control(&["eval", "list_to_integer(os:getpid())."]);
        let id = told.trim().parse().ok().and_then(Pid::from_raw);
        let id = id.expect("the broker tells its process id");
        kill_process(id, Signal::STOP).expect("the broker can be stopped");
        Self(id)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).expect("the broker goes on");
    }
}

/// Runs `rabbitmqctl` for the broker, and gives what it prints.
///
/// # Panics
/// If it fails.
pub fn control(args: &[&str]) -> String {
    let done = Command::new(variable("OPSPAWN_TEST_RABBITMQ_CONTROL"))
        .arg("rabbitmqctl")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the script of the broker can be run");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        done.status.success(),
        "rabbitmqctl {args:?}: {said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    said
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run the tests by `cargo xtask test --install`")
    })
}
