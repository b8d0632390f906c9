//! Waits for the request to stop a process.

use batuta_cli::Ignored;
use rustix::process::Signal;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// Resolves at the first TERM or INT. From the call on, neither signal ends the process by itself. A signal
/// that was ignored when the process was started (such as INT for a program that a script runs in the
/// background) stays ignored.
pub(crate) fn stop_requested() -> impl Future<Output = ()> {
    let ignored = Ignored::of_this_process();
    let mut terminate = listen(Signal::TERM, ignored);
    let mut interrupt = listen(Signal::INT, ignored);
    async move {
        tokio::select! {
            () = next(&mut terminate) => {}
            () = next(&mut interrupt) => {}
        }
    }
}

fn listen(kind: Signal, ignored: Ignored) -> Option<Listener> {
    if ignored.contains(kind) {
        return None;
    }
    let listener = signal(SignalKind::from_raw(kind.as_raw()));
    listener.inspect_err(|error| tracing::warn!(?kind, %error, "signal cannot be caught")).ok()
}

async fn next(listener: &mut Option<Listener>) {
    match listener {
        Some(listener) => {
            listener.recv().await;
        }
        None => std::future::pending().await,
    }
}
