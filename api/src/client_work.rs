//! What is done for one client only. When it panics, that client gets an error or loses its connection, and nobody else notices:
//! the node goes on. A panic anywhere else leaves the node without a part of itself, so it ends the process.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;

thread_local! {
    static CURRENT: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller is called by what is done for one client.
#[must_use]
pub fn is_current() -> bool {
    // A thread that ends does nothing for a client any more.
    CURRENT.try_with(Cell::get).unwrap_or(false)
}

/// Sets the mark while it lives.
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
        // A thread that ends has no mark left to set.
        let _ = CURRENT.try_with(|current| current.set(self.before));
    }
}

/// Does something for one client here and now.
pub fn client_work_now<T>(work: impl FnOnce() -> T) -> T {
    let _mark = Mark::set();
    work()
}

/// Marks a future as done for one client. Whoever waits for it must be prepared that it panics.
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
