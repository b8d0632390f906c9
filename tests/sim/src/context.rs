//! The context that nodes, clients, nemesis and observer share. All of them run on one thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::access::Identities;
use crate::ledger::Ledger;
use crate::node::Slot;
use crate::plan::Plan;
use crate::trace::Trace;

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) detail: String,
}

/// Makes a violation of an invariant, with the details.
pub(crate) fn violation(invariant: &'static str, detail: impl fmt::Display) -> Violation {
    Violation { invariant, detail: detail.to_string() }
}

pub(crate) struct Context {
    pub(crate) plan: Plan,
    pub(crate) nodes: Vec<Slot>,
    /// Who the clients are, in a run with access.
    pub(crate) identities: Identities,
    trace: Mutex<Trace>,
    ledger: Mutex<Ledger>,
    violation: Mutex<Option<Violation>>,
    /// Simulated time at the end of the last step, in microseconds, for code outside the hosts.
    now_us: AtomicU64,
    /// Set when clients may make no new calls.
    closing: AtomicBool,
}

impl Context {
    pub(crate) fn new(plan: Plan, nodes: Vec<Slot>, trace: Trace) -> Arc<Self> {
        Arc::new(Self {
            plan,
            nodes,
            identities: Identities::default(),
            trace: Mutex::new(trace),
            ledger: Mutex::default(),
            violation: Mutex::default(),
            now_us: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn set_now(&self, now: Duration) {
        self.now_us.store(u64::try_from(now.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Simulated time since the beginning of the run. It is the same on every host.
    pub(crate) fn now(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| Duration::from_micros(self.now_us.load(Ordering::Relaxed)))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the trace.
    pub(crate) fn say(&self, line: impl fmt::Display) {
        let now = self.now();
        self.trace().push(format!("{:>4}.{:06} {line}", now.as_secs(), now.subsec_micros()));
    }

    /// Ends the run as failed. Only the first violation is reported.
    pub(crate) fn fail(&self, violation: Violation) {
        self.violation.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(violation);
    }

    pub(crate) fn failed(&self) -> Option<Violation> {
        self.violation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}
