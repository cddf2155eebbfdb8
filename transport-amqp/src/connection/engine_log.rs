//! Silence of the engine's own log lines.
//!
//! The engine logs with `tracing`, too: an error for each channel and connection that ends, also if
//! it ends as it should. Its errors reach the callers of this crate, and its events the lines of
//! this crate, so nothing is lost. A program that enables the level `trace` sees its lines.

use std::cell::RefCell;

use async_rs::Tokio;
use async_rs::traits::Executor;
use async_rs::util::Task;
use futures_util::future::Either;
use tracing::dispatcher::{DefaultGuard, Dispatch, get_default, set_default};
use tracing::instrument::WithSubscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;

/// Runs a future of the engine without a subscriber of the log. Decides when it is called, so a
/// subscriber that is set later gets the engine's lines.
pub(super) fn silenced<F: Future>(future: F) -> impl Future<Output = F::Output> {
    match is_silent() {
        true => Either::Left(future.with_subscriber(Dispatch::none())),
        false => Either::Right(future),
    }
}

/// Silences this thread until it ends, if it is the engine's own.
pub(super) fn silence_engine_thread() {
    thread_local! {
        static SILENCE: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
    }
    if std::thread::current().name() == Some(ENGINE_THREAD) && is_silent() {
        SILENCE.set(Some(set_default(&Dispatch::none())));
    }
}

/// The name of the thread on which the engine reads and writes.
const ENGINE_THREAD: &str = "lapin-io-loop";

/// Returns whether the engine's lines have to be dropped. Without a subscriber there are none, and
/// setting one, even an empty one, would turn off the feature `log` of `tracing` for the process.
fn is_silent() -> bool {
    let is_listening = get_default(|current| !current.is::<NoSubscriber>());
    is_listening && LevelFilter::current() < LevelFilter::TRACE
}

/// Tokio as the engine's executor, whose tasks do not log.
#[derive(Clone, Debug)]
pub(super) struct SilentExecutor(pub(super) Tokio);

impl Executor for SilentExecutor {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(silenced(future))
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        function: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(function)
    }
}
