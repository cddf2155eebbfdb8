//! Silence of the engine's own log lines.
//!
//! The engine logs with `tracing`, too: an error for each channel and connection that ends, also if
//! it ends as it should. Its errors reach the callers of this crate, and its events the lines of
//! this crate, so nothing is lost. A program that enables the level `trace` for the target `lapin`
//! sees its lines.

use std::cell::RefCell;

use async_rs::Tokio;
use async_rs::traits::Executor;
use async_rs::util::Task;
use futures_util::future::Either;
use tracing::Level;
use tracing::dispatcher::{DefaultGuard, Dispatch, get_default, set_default};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

/// The log of the engine for one connection: dropped, or that of the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct EngineLog {
    /// Set if the program has a subscriber, which does not enable the engine's target at `trace`.
    is_silent: bool,
}

impl EngineLog {
    /// Decides by the subscriber and its filters at this moment. The level `trace` of another
    /// target, such as the wire log, does not count.
    ///
    /// Without a subscriber there is nothing to drop, and setting one, even an empty one, would
    /// turn off the feature `log` of `tracing` for the process.
    pub(super) fn current() -> Self {
        let is_listening = get_default(|current| !current.is::<NoSubscriber>());
        let is_traced = tracing::enabled!(target: ENGINE_TARGET, Level::TRACE);
        Self { is_silent: is_listening && !is_traced }
    }

    /// Runs a future of the engine with this log.
    pub(super) fn around<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        match self.is_silent {
            true => Either::Left(future.with_subscriber(Dispatch::none())),
            false => Either::Right(future),
        }
    }

    /// Sets this log for the current thread until it ends, if it is the engine's own.
    ///
    /// On any other thread, the method does nothing: the log of the program's own threads stays as
    /// it is.
    pub(super) fn set_for_engine_thread(self) {
        thread_local! {
            static SILENCE: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
        }
        if self.is_silent && std::thread::current().name() == Some(ENGINE_THREAD) {
            SILENCE.set(Some(set_default(&Dispatch::none())));
        }
    }
}

/// The target of the engine's lines: a filter for it holds for all modules of the engine.
const ENGINE_TARGET: &str = "lapin";

/// The name of the thread on which the engine reads and writes.
const ENGINE_THREAD: &str = "lapin-io-loop";

/// Tokio as the engine's executor, with the engine's log in its tasks.
///
/// Each task of the engine follows the log that was decided when its connection was made. Blocking
/// functions keep the log of the program.
#[derive(Clone, Debug)]
pub(super) struct EngineExecutor {
    pub(super) tokio: Tokio,
    pub(super) log: EngineLog,
}

impl Executor for EngineExecutor {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        self.tokio.block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> Task<Self::Task<T>> {
        self.tokio.spawn(self.log.around(future))
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        function: F,
    ) -> Task<Self::Task<T>> {
        self.tokio.spawn_blocking(function)
    }
}
