//! Signals that ask a process to end.

use std::future::pending;
use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGTERM or SIGINT; on other systems for Ctrl-C.
///
/// For a `main` without an [`App`](crate::App), which listens by itself. Service managers, such as
/// systemd and Kubernetes, send SIGTERM, and a terminal sends SIGINT.
///
/// ```no_run
/// use polywire_app::shutdown_signal;
/// use polywire_codec::MessagePack;
/// use polywire_core::{Memory, Result, Router, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let transport = Memory::new();
/// let server = Server::bind(&transport, "calculator").await?;
/// let router = Router::new(MessagePack).method("add", async |(a, b): (i64, i64)| Ok(a + b));
/// server.serve(router).with_graceful_shutdown(shutdown_signal()).await?;
/// # Ok(())
/// # }
/// ```
///
/// Listening begins when the future is first polled. From then on, these signals do not end the
/// process by themselves, also after the future has resolved or was dropped: a second signal needs
/// a second call. If the process cannot listen, an error is logged, and the future never resolves.
pub async fn shutdown_signal() {
    match Signals::listen() {
        Ok(mut signals) => {
            let signal = signals.next().await;
            tracing::info!(signal, "signal received");
        }
        Err(error) => {
            tracing::error!(%error, "cannot listen for signals");
            pending::<()>().await;
        }
    }
}

/// SIGTERM and SIGINT; on other systems Ctrl-C.
///
/// On Unix, signals that arrive while nothing waits are kept, and several of one kind count once.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(unix)]
    interrupt: Signal,
}

impl Signals {
    /// Replaces the default reaction of the process, which would be to die at once.
    ///
    /// tokio never restores the default: the signals stay captured after the value is dropped.
    /// Panics outside of a tokio runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate())?,
            #[cfg(unix)]
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal, and returns its name. If the future is dropped, no signal is
    /// lost.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for the next Ctrl-C.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> &'static str {
        // Without a handler for Ctrl-C, the system ends the process.
        if tokio::signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
        "Ctrl-C"
    }
}
