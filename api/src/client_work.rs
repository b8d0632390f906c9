//! Marks work that is done for one client only. When it panics, that client gets an error or loses its connection, and the node
//! continues. A panic anywhere else leaves the node without one of its parts, so it ends the process.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;

thread_local! {
    static CURRENT: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller runs as part of work for one client.
#[must_use]
pub fn is_current() -> bool {
    // A thread that is ending no longer works for a client.
    CURRENT.try_with(Cell::get).unwrap_or(false)
}

/// Sets the mark for as long as it lives.
struct Mark {
    before: bool,
}

impl Mark {
    fn set() -> Self {
        Self { before: CURRENT.replace(true) }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // A thread that is ending no longer has the mark.
        let _ = CURRENT.try_with(|current| current.set(self.before));
    }
}

/// Runs work for one client synchronously.
pub fn client_work_now<T>(work: impl FnOnce() -> T) -> T {
    let _mark = Mark::set();
    work()
}

/// Marks a future as work for one client. Its caller must handle a panic.
pub async fn client_work<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context| client_work_now(|| work.as_mut().poll(context))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn mark_is_there_while_work_is_polled() {
        assert!(!is_current());
        let inner = client_work(async {
            assert!(is_current());
            tokio::task::yield_now().await;
            is_current()
        });
        let (inner, outer) = tokio::join!(inner, async {
            tokio::task::yield_now().await;
            is_current()
        });
        assert!(inner && !outer && !is_current());
        assert!(tokio::spawn(client_work(async { panic!("on purpose") })).await.is_err());
        assert!(!tokio::spawn(async { is_current() }).await.unwrap());
    }
}
