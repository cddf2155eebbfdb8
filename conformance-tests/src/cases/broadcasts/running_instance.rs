//! An instance at work in a process of its own, and the broadcaster that reaches it.

use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::broadcast::Broadcaster;
use polywire_core::rpc::ServerHandle;
use polywire_core::{AnyTransport, Instance, Server, Service};
use tokio::sync::Semaphore;

use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::names::SERVICE;
use crate::verdict::{OrFail, Verdict};
use crate::wait::{PATIENCE, eventually, in_time};

/// A heartbeat so long that no instance counts as gone for its silence.
pub(super) const NO_HEARTBEAT: Duration = Duration::from_hours(1);

/// An instance at work. Dropping it ends its server, which leaves.
pub(super) struct RunningInstance {
    pub(super) handle: ServerHandle,
    pub(super) transport: AnyTransport,
    _task: AbortOnDrop,
}

impl RunningInstance {
    /// Starts an instance with this id and name, in a process of its own.
    ///
    /// # Errors
    ///
    /// [`Failure::Failed`](crate::Failure::Failed), if it cannot be bound.
    pub(super) async fn start(
        context: &TestContext,
        id: &str,
        service: impl Service,
    ) -> Verdict<Self> {
        Self::start_on(context.serving().await?, id, NO_HEARTBEAT, service).await
    }

    /// Starts an instance on this transport, with a heartbeat.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub(super) async fn start_on(
        transport: AnyTransport,
        id: &str,
        heartbeat: Duration,
        service: impl Service,
    ) -> Verdict<Self> {
        let instance = Instance::new(id).and_then(|instance| instance.with_id(id));
        let instance = instance.or_fail("an instance has a description")?;
        let bind = Server::bind_broadcast(&transport, SERVICE).instance(instance);
        let server = in_time(bind.heartbeat(heartbeat)).await?;
        let handle = server.handle();
        let task = AbortOnDrop::new(tokio::spawn(server.serve(service)));
        Ok(Self { handle, transport, _task: task })
    }
}

/// Returns a gate that nothing passes.
pub(super) fn closed() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// Connects a broadcaster in a process of its own, and waits until it knows this number of
/// instances.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if it cannot connect, or does not know them within
/// 30 s.
pub(super) async fn broadcaster(
    context: &TestContext,
    instances: usize,
) -> Verdict<Broadcaster<MessagePack>> {
    let transport = context.calling().await?;
    let connect = Broadcaster::connect(&transport, SERVICE, MessagePack).timeout(PATIENCE);
    let broadcaster = in_time(connect).await?;
    know(&broadcaster, instances).await?;
    Ok(broadcaster)
}

/// Waits until a broadcaster knows this number of instances.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if it does not within 30 s.
pub(super) async fn know(broadcaster: &Broadcaster<MessagePack>, instances: usize) -> Verdict {
    let what = format!("{instances} instances are known");
    eventually(&what, || broadcaster.instances().len() == instances).await
}
