//! The in-memory backend with a flaw, behind a simulated network.

use std::time::Duration;

use polywire_conformance::{Backend, Hook, Space};
use polywire_core::{AnyTransport, Memory, Result};

use crate::flaw::{Flaw, HealthFlaw};
use crate::network::Network;
use crate::transport::BrokenTransport;

/// A backend with this flaw.
pub(crate) struct BrokenBackend<F> {
    flaw: F,
    latency: Option<Duration>,
}

impl<F: Flaw> BrokenBackend<F> {
    /// A backend on a network without latency.
    pub(crate) fn new(flaw: F) -> Self {
        Self { flaw, latency: None }
    }

    /// A backend whose requests, pushes and publishes take 1 ms, so that a paused clock advances
    /// under a load.
    pub(crate) fn slow(flaw: F) -> Self {
        Self { flaw, latency: Some(Duration::from_millis(1)) }
    }
}

impl<F: Flaw> Backend for BrokenBackend<F> {
    type Space = BrokenSpace<F>;

    fn name(&self) -> String {
        "broken".to_owned()
    }

    async fn space(&self) -> Result<BrokenSpace<F>> {
        let memory = Memory::new().with_limits(self.flaw.limits());
        let network = Network::new(self.latency);
        Ok(BrokenSpace { memory, flaw: self.flaw.clone(), network })
    }
}

/// A namespace in memory, and the network before it.
pub(crate) struct BrokenSpace<F> {
    memory: Memory,
    flaw: F,
    network: Network,
}

impl<F: Flaw> Space for BrokenSpace<F> {
    async fn serving(&self) -> Result<AnyTransport> {
        let memory = self.memory.peer();
        let (flaw, network) = (self.flaw.clone(), self.network.clone());
        let health = network.health().reporter();
        Ok(AnyTransport::new(BrokenTransport { memory, flaw, network, health }))
    }

    async fn calling(&self) -> Result<AnyTransport> {
        self.serving().await
    }

    fn hooks(&self) -> Vec<Hook> {
        Network::HOOKS.to_vec()
    }

    async fn disturb(&self, hook: Hook) -> Result<()> {
        self.flaw.disturb(hook).await;
        if self.flaw.obeys_hooks() {
            self.network.disturb(hook);
        }
        if self.flaw.health() != HealthFlaw::StaysConnected {
            self.network.report(hook);
        }
        Ok(())
    }

    async fn heal(&self) -> Result<()> {
        self.network.heal();
        if self.flaw.health() != HealthFlaw::StaysOff {
            self.network.health().up();
        }
        Ok(())
    }
}
