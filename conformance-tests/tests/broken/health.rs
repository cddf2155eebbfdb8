//! The health of a broken backend: that of memory, and of the network before it.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use polywire_core::health::{
    CanaryEcho, CanaryReceiver, ConnectionState, EndpointProbe, EndpointReporter, EndpointRole,
    HealthReader, HealthReporter,
};
use polywire_core::transport::{
    Abandoned, Answer, Delivery, Inbound, Receiver, ServerNotice, async_trait,
};
use polywire_core::{Address, Error, ErrorKind, Memory, Result, Transport};

use crate::flaw::HealthFlaw;

/// The reporters of all transports of a space. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct LinkHealth(Arc<Mutex<Vec<HealthReporter>>>);

impl LinkHealth {
    /// Creates the reporter of a transport.
    pub(crate) fn reporter(&self) -> HealthReporter {
        let reporter = HealthReporter::new(ConnectionState::Connected);
        self.0.lock().unwrap().push(reporter.clone());
        reporter
    }

    /// Reports that all links are cut, until they are [up](Self::up).
    pub(crate) fn down(&self) {
        let error = Error::new(ErrorKind::Disconnected, "the link was cut");
        self.report(&ConnectionState::Connecting { error: Some(error) });
    }

    /// Reports that all links hold.
    pub(crate) fn up(&self) {
        self.report(&ConnectionState::Connected);
    }

    fn report(&self, state: &ConnectionState) {
        for reporter in &*self.0.lock().unwrap() {
            reporter.set_connection(state.clone());
        }
    }
}

/// A receiving half that reports to the health of a broken transport.
pub(crate) struct ReportedReceiver {
    inner: Receiver,
    health: EndpointReporter,
    flaw: HealthFlaw,
}

impl ReportedReceiver {
    /// Wraps the receiving half of a handle with this role and name.
    pub(crate) fn wrap(
        inner: Receiver,
        (reporter, memory): (&HealthReporter, &Memory),
        (role, name): (EndpointRole, &Address),
        flaw: HealthFlaw,
    ) -> Receiver {
        let probe = MemoryProbe { memory: memory.health(), role, name: name.clone(), flaw };
        let health = reporter.endpoint(role, name, Some(Arc::new(probe)));
        health.set_consuming(flaw != HealthFlaw::NeverConsumes);
        Receiver::new(Self { inner, health, flaw })
    }
}

impl Stream for ReportedReceiver {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.inner).poll_next(cx)
    }
}

impl Inbound for ReportedReceiver {
    fn stop(mut self: Pin<&mut Self>) {
        self.health.end();
        self.inner.stop();
    }

    fn health(&self) -> Option<EndpointReporter> {
        (self.flaw != HealthFlaw::HidesDrains).then(|| self.health.clone())
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        self.inner.poll_abandoned(cx)
    }

    fn poll_read_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_read_ahead(cx)
    }

    fn poll_answer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.inner.poll_answer(cx)
    }

    fn poll_notice(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ServerNotice> {
        self.inner.poll_notice(cx)
    }
}

impl Drop for ReportedReceiver {
    fn drop(&mut self) {
        self.health.end();
    }
}

/// Canaries by way of memory.
struct MemoryProbe {
    memory: HealthReader,
    role: EndpointRole,
    name: Address,
    flaw: HealthFlaw,
}

#[async_trait]
impl EndpointProbe for MemoryProbe {
    async fn canary(&self, limit: Duration) -> Result<CanaryEcho> {
        if self.flaw == HealthFlaw::AnswersForTheReceiver {
            return Ok(CanaryEcho::new(Duration::ZERO, CanaryReceiver::ThisEndpoint));
        }
        let report = self.memory.canary(limit).await;
        let own = |canary: &&_| {
            let polywire_core::health::EndpointCanary { role, name, .. } = canary;
            *role == self.role && *name == self.name
        };
        let canary = report.endpoints.iter().find(own);
        canary.map_or_else(|| Err(Error::unsupported("canaries")), |canary| canary.outcome.clone())
    }
}
