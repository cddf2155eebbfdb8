//! Services that several cases serve.

use std::sync::Arc;

use polywire_codec::MessagePack;
use polywire_core::Router;
use tokio::sync::Semaphore;

use crate::operation_log::OperationLog;

/// A service whose method `echo` returns its argument.
///
/// It answers at once, so that a call measures the transport only.
pub(super) fn echo() -> Router<MessagePack> {
    Router::new(MessagePack).method("echo", |n: u32| async move { Ok(n) })
}

/// A service whose method `wait` returns its argument once it gets a permit.
///
/// A call stays in flight until the case adds a permit to the gate.
pub(super) fn gated(gate: &Arc<Semaphore>) -> Router<MessagePack> {
    let gate = gate.clone();
    Router::new(MessagePack).method("wait", move |n: u32| {
        let gate = gate.clone();
        async move {
            use_permit(&gate).await;
            Ok(n)
        }
    })
}

/// A service whose method `wait` returns the name of its server once it gets a permit.
///
/// As [`gated`], for cases that ask which of several servers answered.
pub(super) fn gated_with_name(gate: &Arc<Semaphore>, name: &'static str) -> Router<MessagePack> {
    let gate = gate.clone();
    Router::new(MessagePack).method("wait", move |_: u64| {
        let gate = gate.clone();
        async move {
            use_permit(&gate).await;
            Ok(name)
        }
    })
}

/// A service whose method `run` logs the effect of its operation.
pub(super) fn counting(log: &Arc<OperationLog>) -> Router<MessagePack> {
    let runs = log.clone();
    Router::new(MessagePack).method("run", move |id: u64| {
        runs.effect(id);
        async { Ok(()) }
    })
}

/// Waits for a permit and consumes it.
pub(super) async fn use_permit(gate: &Semaphore) {
    if let Ok(permit) = gate.acquire().await {
        permit.forget();
    }
}
