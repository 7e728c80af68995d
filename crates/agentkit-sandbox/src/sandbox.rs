//! The host's side: the helper process, and calls.

mod drain;
mod helper;
mod running;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, Semaphore},
    time::Instant,
};

use self::helper::{Helper, SendError};
use crate::{
    Call, Ended, Error, Outcome, Report, SetupError,
    linux::{wire, zygote},
};

/// Name of the helper process, by which the program knows its role.
const HELPER: &str = "opspawn-sandbox";
/// How long the trial call may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How the helper process is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Calls that may run at once; later ones wait. 200 at most.
    pub concurrency: u32,
    /// The program that calls [`helper`] in its `main`; by default this program.
    pub program: PathBuf,
    /// For tests: limits are held without cgroups, also where there are some.
    pub without_cgroups: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 64,
            program: PathBuf::from("/proc/self/exe"),
            without_cgroups: false,
        }
    }
}

/// State of the sandbox.
#[derive(Debug, Clone)]
pub enum State {
    /// No call has needed the sandbox, and no step was tried.
    NotStarted,
    /// The set-up was tried and works.
    Ready(Report),
    /// A step of the set-up failed.
    Refused(SetupError),
}

/// Counters of a sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Programs that ran.
    pub calls: u64,
    /// Programs that were killed because they passed a limit.
    pub limits_passed: u64,
    /// Programs that did not run.
    pub refused: u64,
    /// Programs whose end is not known.
    pub lost: u64,
    /// Processor time of programs, in milliseconds.
    pub cpu_millis: u64,
}

/// Runs programs. Clones are the same sandbox.
///
/// The helper process is started by the first call, or by [`Sandbox::start`], and anew if it was lost.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    helper: AsyncMutex<Option<Arc<Helper>>>,
    state: Mutex<State>,
    counts: Mutex<Counts>,
    permits: Arc<Semaphore>,
    /// Free slots, oldest in front: the kernel takes a while to clear a slot.
    free: Mutex<VecDeque<u32>>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

/// The work of the helper process, or of [`crate::wasm::PROGRAM`]; does not return in either process. The first statement of `main`, before any
/// thread is made.
pub fn helper() {
    let is_helper = std::env::args_os()
        .next()
        .is_some_and(|name| name == HELPER);
    if is_helper {
        std::process::exit(zygote::run());
    }
    #[cfg(feature = "wasm")]
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == crate::wasm::PROGRAM)
    {
        std::process::exit(crate::wasm::main());
    }
}

/// A slot of a call, given back when it is dropped.
struct Slot {
    number: u32,
    inner: Arc<Inner>,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut free = self
            .inner
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.push_back(self.number);
    }
}

impl Sandbox {
    /// A sandbox whose helper process is made when it is needed.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let slots = options.concurrency.clamp(1, 200);
        let options = Options {
            concurrency: slots,
            ..options
        };
        Self {
            inner: Arc::new(Inner {
                options,
                helper: AsyncMutex::new(None),
                state: Mutex::new(State::NotStarted),
                counts: Mutex::default(),
                permits: Arc::new(Semaphore::new(slots as usize)),
                free: Mutex::new((0..slots).collect()),
            }),
        }
    }

    /// State of the sandbox.
    #[must_use]
    pub fn state(&self) -> State {
        let state = self.inner.state.lock();
        state.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counters since the sandbox was made.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self
            .inner
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the helper process, which tries the whole set-up, unless it runs already.
    ///
    /// # Errors
    /// The step that failed, with its remedy.
    pub async fn start(&self) -> Result<Report, SetupError> {
        self.helper().await.map(|helper| helper.report.clone())
    }

    /// The process that makes the sandboxes, if it runs.
    #[doc(hidden)]
    pub async fn helper_id(&self) -> Option<u32> {
        self.inner
            .helper
            .lock()
            .await
            .as_ref()
            .map(|helper| helper.id())
    }

    async fn helper(&self) -> Result<Arc<Helper>, SetupError> {
        let mut helper = self.inner.helper.lock().await;
        if let Some(helper) = &*helper {
            return Ok(Arc::clone(helper));
        }
        let options = self.inner.options.clone();
        let started = tokio::task::spawn_blocking(move || Helper::start(&options, START_TIMEOUT));
        let started = started.await.unwrap_or_else(|_| {
            let error = std::io::Error::other("it was broken off");
            Err(SetupError::new(crate::Step::Helper, &error))
        });
        let state = match &started {
            Ok(helper) => State::Ready(helper.report.clone()),
            Err(error) => State::Refused(error.clone()),
        };
        *self
            .inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = state;
        let started = Arc::new(started?);
        *helper = Some(Arc::clone(&started));
        Ok(started)
    }

    /// Forgets a helper process that is gone, unless there is a newer process.
    async fn forget(&self, lost: &Arc<Helper>) {
        let mut helper = self.inner.helper.lock().await;
        if helper.as_ref().is_some_and(|now| Arc::ptr_eq(now, lost)) {
            *helper = None;
        }
    }

    /// Runs a program and waits for its end. When this returns, every process of the call is dead. A future that
    /// is dropped kills them as well.
    ///
    /// # Errors
    /// If no program ran, or its end is not known. How a program failed is an [`Outcome`].
    pub async fn run(&self, call: Call) -> Result<Outcome, Error> {
        let outcome = self.run_uncounted(call).await;
        let mut counts = self
            .inner
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &outcome {
            Ok(outcome) => {
                counts.calls += 1;
                counts.limits_passed += u64::from(matches!(outcome.ended, Ended::Passed(_)));
                counts.cpu_millis += u64::try_from(outcome.cpu.as_millis()).unwrap_or(0);
            }
            Err(Error::Lost(_)) => counts.lost += 1,
            Err(Error::Unavailable(_) | Error::NotStarted(_) | Error::Invalid(_)) => {
                counts.refused += 1;
            }
        }
        drop(counts);
        outcome
    }

    async fn run_uncounted(&self, call: Call) -> Result<Outcome, Error> {
        let began = Instant::now();
        call.check().map_err(Error::Invalid)?;
        let slot = self.slot().await;
        let mut helper = self.helper().await.map_err(Error::Unavailable)?;
        let running = match running::begin(&helper, &call, slot.number).await {
            Err(SendError::Gone) => {
                self.forget(&helper).await;
                helper = self.helper().await.map_err(Error::Unavailable)?;
                running::begin(&helper, &call, slot.number).await
            }
            other => other,
        };
        let running = match running {
            Ok(running) => running,
            Err(SendError::Gone) => {
                self.forget(&helper).await;
                return Err(Error::Lost("the helper process ended".to_owned()));
            }
            Err(SendError::Failed(error)) => return Err(Error::Lost(error.to_string())),
        };
        let outcome = running.finish(&call, began).await;
        drop(slot);
        outcome
    }

    async fn slot(&self) -> Slot {
        let permits = Arc::clone(&self.inner.permits);
        let permit = permits.acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let mut free = self
            .inner
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Slot {
            number: free
                .pop_front()
                .expect("there are as many slots as permits"),
            inner: Arc::clone(&self.inner),
            _permit: permit,
        }
    }
}

impl Call {
    fn check(&self) -> Result<(), String> {
        if self.arguments.is_empty() {
            return Err("no program is named".to_owned());
        }
        let length = |text: &std::ffi::OsString| text.len();
        let total: usize = self.arguments.iter().map(length).sum::<usize>()
            + self
                .variables
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>();
        // Bytes are numbers in the message.
        let most = wire::MAX_MESSAGE / 5;
        if total > most {
            return Err(format!(
                "arguments and variables have {total} bytes, and {most} is the limit"
            ));
        }
        for grant in &self.grants {
            if !grant.source.is_absolute() || !grant.target.is_absolute() {
                return Err(format!(
                    "the granted folder {} is not absolute",
                    grant.source.display()
                ));
            }
        }
        Ok(())
    }
}
