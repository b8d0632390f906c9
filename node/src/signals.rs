//! When a process is asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves at the first TERM or INT. From the call on, neither ends the process by itself.
pub(crate) fn stop_requested() -> impl Future<Output = ()> {
    let mut terminate = listen(SignalKind::terminate());
    let mut interrupt = listen(SignalKind::interrupt());
    async move {
        tokio::select! {
            () = next(&mut terminate) => {}
            () = next(&mut interrupt) => {}
        }
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::warn!(?kind, %error, "signal can not be caught")).ok()
}

async fn next(listener: &mut Option<Signal>) {
    match listener {
        Some(listener) => {
            listener.recv().await;
        }
        None => std::future::pending().await,
    }
}
