// How this process and the others on the same database learn of each other's work.
//
// One thread with a connection of its own sends and hears notifications, and looks at the database now and then.
// What is looked at is the truth: a notification may be lost (a pooler passes none on, a connection that died
// silently neither), and then work waits for the next look. Notifications are sent outside of the transactions
// that write, as PostgreSQL commits transactions with a NOTIFY one after the other, and at most every 50 ms.
//
// A look is one transaction for the whole process. All processes together look about four times a second, so
// that a hundred idle ones cost no more than a few: a look also keeps idle sessions alive, says whether a
// session has expired or a date was missed, and which queues have work, and the loops of the engine ask the
// database only where it found something.

mod look;
mod news;

pub(crate) use self::{
    look::{ENDED, Look},
    news::News,
};

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ops_core::{ports::FoundBy, verbs::Done};
use tokio::{
    runtime::Runtime,
    sync::{Notify, mpsc, oneshot},
};
use tokio_postgres::types::Type;

use self::look::interval;
use crate::postgres::{
    connection::{Connection, Notification, Param, runtime},
    error::Failure,
    lane::{Job, Lanes, Writing, lock},
    shared::Shared,
    work::Work,
};

/// What all processes listen to.
const CHANNEL: &str = "opspawn";
/// The name of connections that listen: they are counted by it.
pub(crate) const LISTENS: &str = "opspawn listen";
/// Notifications wait this long for others.
const COALESCE: Duration = Duration::from_millis(50);
/// How often a process notifies itself, to see whether it hears.
const PROBE: Duration = Duration::from_secs(300);
/// How often it does so while it does not.
const PROBE_AGAIN: Duration = Duration::from_secs(30);
/// How long a notification to itself may take.
const PROBE_ANSWER: Duration = Duration::from_secs(5);
const RETRY_DELAY: Duration = Duration::from_millis(200);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);
/// How many notifications may wait here; more are lost, as all may be.
const BACKLOG: usize = 1_024;
/// How long an idle session lives beyond its time: longer than the longest break between two looks.
const IDLE_ALLOWANCE: Duration = Duration::from_secs(180);

/// What the threads of a store share about other processes.
pub(crate) struct Elsewhere {
    /// Whether other processes use the database as well.
    on: bool,
    news: Mutex<News>,
    changed: Notify,
    stopping: AtomicBool,
    /// Whether anybody else listens.
    others: AtomicBool,
    look: Mutex<Option<(Instant, Look)>>,
    warning: Mutex<Option<String>>,
    pub(crate) looks: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) heard: AtomicU64,
}

impl Elsewhere {
    pub(crate) fn new(on: bool) -> Self {
        Self {
            on,
            news: Mutex::default(),
            changed: Notify::new(),
            stopping: AtomicBool::new(false),
            others: AtomicBool::new(false),
            look: Mutex::default(),
            warning: Mutex::default(),
            looks: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        }
    }

    /// How long a session that holds no lease lives beyond its time.
    pub(crate) fn idle_allowance(&self) -> Duration {
        match self.on {
            true => IDLE_ALLOWANCE,
            false => Duration::ZERO,
        }
    }

    /// Whether other processes may use the database.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Takes note of what others are to know of a transaction.
    pub(crate) fn tell(
        &self,
        done: &Done,
        is_own: impl Fn(ops_core::SessionId) -> bool,
        rings: impl Fn(&str) -> bool,
    ) {
        if !self.others.load(Relaxed) {
            return;
        }
        let stops = done.interrupted().filter(|session| !is_own(*session));
        let mut news = lock(&self.news);
        let was_empty = news.is_empty();
        news.add(&done.notices, stops, rings);
        if was_empty && !news.is_empty() {
            self.changed.notify_one();
        }
    }

    /// The last look, unless it is too old to go by.
    pub(crate) fn fresh<T>(&self, take: impl FnOnce(&mut Look) -> T) -> Option<T> {
        let mut look = lock(&self.look);
        let (at, found) = look.as_mut()?;
        // Three looks that did not take place: the database is asked again.
        let longest = interval(found.live, 1.0) * 3 + Duration::from_secs(1);
        (at.elapsed() < longest).then(|| take(found))
    }

    /// What the operator is to know.
    pub(crate) fn warning(&self) -> Option<String> {
        lock(&self.warning).clone()
    }

    fn warn(&self, text: Option<&str>) {
        let mut warning = lock(&self.warning);
        if warning.as_deref() != text {
            match text {
                Some(text) => tracing::warn!("{text}"),
                None => tracing::info!("notifications of other processes are heard again"),
            }
            *warning = text.map(str::to_owned);
        }
    }
}

/// Starts the thread.
pub(crate) fn start(
    shared: &Arc<Shared>,
    beats: &Arc<Lanes<Box<dyn Job>>>,
) -> std::io::Result<JoinHandle<()>> {
    let listener = Listener {
        runtime: runtime()?,
        shared: Arc::clone(shared),
        beats: Arc::clone(beats),
        next_look: Instant::now(),
        last_sent: None,
    };
    thread::Builder::new()
        .name("store-listen".to_owned())
        .spawn(move || listener.run())
}

/// Asks the thread to end.
pub(crate) fn stop(shared: &Shared) {
    shared.elsewhere.stopping.store(true, Relaxed);
    shared.elsewhere.changed.notify_one();
}

struct Listener {
    runtime: Arc<Runtime>,
    shared: Arc<Shared>,
    /// Another connection, for the notifications of a process to itself.
    beats: Arc<Lanes<Box<dyn Job>>>,
    next_look: Instant,
    last_sent: Option<Instant>,
}

/// A connection that listens.
struct Line {
    conn: Connection,
    heard: mpsc::Receiver<Notification>,
    /// The database's process of the connection: whose notifications are our own.
    pid: i32,
    /// When it notified itself, and has not heard it yet.
    probed: Option<Instant>,
    next_probe: Instant,
}

enum Event {
    Notification(Notification),
    Changed,
    Due,
    Closed,
}

impl Listener {
    fn run(mut self) {
        let mut delay = RETRY_DELAY;
        while !self.is_stopping() {
            match self.connect() {
                Ok(line) => {
                    delay = RETRY_DELAY;
                    if let Err(failure) = self.serve(line) {
                        tracing::debug!(error = %failure.message, "the listening connection is lost");
                        if units::mutant!("ops-store.postgres_listens_once") {
                            return;
                        }
                    }
                }
                Err(failure) => {
                    let text = "this process hears no notifications, as the database cannot be reached; \
                                it looks for work by itself";
                    self.shared.elsewhere.warn(Some(text));
                    tracing::debug!(error = %failure.message, "cannot listen");
                    self.pause(delay);
                    delay = (delay * 2).min(MAX_RETRY_DELAY);
                }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.shared.elsewhere.stopping.load(Relaxed)
    }

    // Waits, but not beyond the end of the store.
    fn pause(&self, delay: Duration) {
        let changed = self.shared.elsewhere.changed.notified();
        drop(
            self.runtime
                .block_on(async { tokio::time::timeout(delay, changed).await }),
        );
    }

    fn connect(&mut self) -> Result<Line, Failure> {
        let options = &self.shared.options;
        let address = options.notify.as_ref().unwrap_or(&options.address);
        let (sender, heard) = mpsc::channel(BACKLOG);
        let conn = Connection::listening(
            &self.runtime,
            &address.named(LISTENS),
            options.statement_timeout,
            sender,
        )?;
        let found = conn.query("SELECT pg_backend_pid()", &[])?;
        let pid = found.first().and_then(|row| row.try_get(0).ok());
        let pid: i32 = pid.ok_or_else(|| Failure::give("the database says no process id"))?;
        conn.execute_all(&format!("LISTEN {CHANNEL}; LISTEN {CHANNEL}_{pid}"))?;
        // Those who are alone learn that they are so no more.
        notify(&conn, &[(CHANNEL.to_owned(), "{}".to_owned())])?;
        self.shared.connected();
        let now = Instant::now();
        Ok(Line {
            conn,
            heard,
            pid,
            probed: None,
            next_probe: now,
        })
    }

    fn serve(&mut self, mut line: Line) -> Result<(), Failure> {
        // What happened meanwhile was not heard.
        self.next_look = Instant::now();
        while !self.is_stopping() {
            let now = Instant::now();
            if now >= line.next_probe {
                self.probe(line.pid);
                let again = match line.probed {
                    Some(_) => PROBE_AGAIN,
                    None => PROBE,
                };
                line.probed.get_or_insert(now);
                line.next_probe = now + again;
            }
            if line.probed.is_some_and(|at| at.elapsed() >= PROBE_ANSWER) {
                self.shared.elsewhere.warn(Some(
                    "this process hears no notifications of others, as it should through a direct connection \
                     to PostgreSQL; it looks for work by itself, later. Set `store.notify_url` to the \
                     database without the pooler",
                ));
            }
            if now >= self.next_look {
                let live = self.look(&line)?;
                self.next_look = Instant::now() + interval(live, jitter(line.pid));
            }
            let send_at = self.send_at();
            if send_at.is_some_and(|at| at <= Instant::now()) {
                self.send(&line)?;
                continue;
            }
            match self.wait(&mut line, send_at) {
                Event::Notification(heard) => self.receive(&mut line, &heard),
                Event::Changed | Event::Due => {}
                Event::Closed => return Err(Failure::again("it was closed")),
            }
        }
        Ok(())
    }

    // Notifies this process. Another connection does it: a pooler hands a notification of a connection to itself to
    // whoever has the connection at the moment.
    fn probe(&self, pid: i32) {
        let channel = format!("{CHANNEL}_{pid}");
        let (reply, _) = oneshot::channel();
        let job = Box::new(Writing {
            keys: Vec::new(),
            verb: move |work: &mut Work<'_>| {
                let sql = "SELECT pg_notify($1, '')::text";
                work.ask(sql, &[(&channel, Type::TEXT)]).map(drop)
            },
            verdict: None,
            reply,
        });
        drop(self.beats.push(0, job));
    }

    /// When what others are to know is sent; none if there is nothing.
    fn send_at(&self) -> Option<Instant> {
        let empty = lock(&self.shared.elsewhere.news).is_empty();
        (!empty).then(|| match self.last_sent {
            Some(at) => at + COALESCE,
            None => Instant::now(),
        })
    }

    fn wait(&self, line: &mut Line, send_at: Option<Instant>) -> Event {
        let probe = line.probed.map(|at| at + PROBE_ANSWER);
        let probe = probe.filter(|at| *at > Instant::now());
        let times = [Some(self.next_look), Some(line.next_probe), send_at, probe];
        let until = times.into_iter().flatten().min().unwrap_or(self.next_look);
        let changed = self.shared.elsewhere.changed.notified();
        self.runtime.block_on(async {
            tokio::select! {
                heard = line.heard.recv() => heard.map_or(Event::Closed, Event::Notification),
                () = changed => Event::Changed,
                () = tokio::time::sleep_until(until.into()) => Event::Due,
            }
        })
    }

    fn send(&mut self, line: &Line) -> Result<(), Failure> {
        let news = std::mem::take(&mut *lock(&self.shared.elsewhere.news));
        self.last_sent = Some(Instant::now());
        let messages: Vec<_> = news
            .into_messages()
            .into_iter()
            .map(|text| (CHANNEL.to_owned(), text))
            .collect();
        self.shared
            .elsewhere
            .sent
            .fetch_add(messages.len() as u64, Relaxed);
        notify(&line.conn, &messages)
    }

    fn receive(&self, line: &mut Line, heard: &Notification) {
        if heard.channel != CHANNEL {
            line.probed = None;
            self.shared.elsewhere.warn(None);
            return;
        }
        if heard.pid == line.pid {
            return;
        }
        self.shared.elsewhere.others.store(true, Relaxed);
        let Some(news) = News::read(&heard.text) else {
            return;
        };
        if news.is_empty() {
            return;
        }
        self.shared.elsewhere.heard.fetch_add(1, Relaxed);
        let observer = &self.shared.options.observer;
        for session in &news.stops {
            if let Some(notifier) = self.shared.notifier(*session) {
                notifier.notify_one();
            }
        }
        for (queue, rung) in &news.queues {
            observer.ready(queue, FoundBy::Notification { rung: *rung });
        }
        for hint in news.hints() {
            observer.changed(hint);
        }
    }

    // Looks at the database; gives the number of live sessions.
    fn look(&self, line: &Line) -> Result<u64, Failure> {
        let elsewhere = &self.shared.elsewhere;
        let idle: BTreeSet<_> = self.shared.idle_sessions();
        let found = look::look(&line.conn, &idle, elsewhere.idle_allowance())?;
        self.shared.told(found.now);
        elsewhere.looks.fetch_add(1, Relaxed);
        elsewhere.others.store(found.listeners > 1, Relaxed);
        for session in idle.difference(&found.sessions) {
            self.shared.session_is_over(*session);
        }
        let observer = &self.shared.options.observer;
        for queue in &found.queues {
            observer.ready(queue, FoundBy::Look);
        }
        if found.is_overdue {
            observer.overdue();
        }
        let live = found.live;
        *lock(&elsewhere.look) = Some((Instant::now(), found));
        Ok(live)
    }
}

/// Between 0.75 and 1.25, the same for a connection: processes that start together look at other times.
fn jitter(pid: i32) -> f64 {
    let spread = f64::from(pid.wrapping_mul(37).rem_euclid(101)) / 100.0;
    0.75 + spread / 2.0
}

/// Notifies channels, in a transaction of its own.
fn notify(conn: &Connection, messages: &[(String, String)]) -> Result<(), Failure> {
    let channels: Vec<&str> = messages.iter().map(|(channel, _)| &**channel).collect();
    let texts: Vec<&str> = messages.iter().map(|(_, text)| &**text).collect();
    let sql = "SELECT pg_notify(channel, text) FROM unnest($1, $2) AS news (channel, text)";
    let params: [Param<'_>; 2] = [(&channels, Type::TEXT_ARRAY), (&texts, Type::TEXT_ARRAY)];
    conn.query(sql, &params)?;
    Ok(())
}
