//! A complete backend on the suite: all patterns over TCP, by way of a small broker.
//!
//! ```text
//! cargo run -p polywire-conformance --example tcp
//! cargo run -p polywire-conformance --example tcp -- servers. --nocapture
//! ```
//!
//! Read `transport.rs` first, which core calls; then `link.rs`, `wire.rs` and `broker.rs`.

mod broker;
mod link;
mod transport;
mod wire;

use std::net::SocketAddr;
use std::sync::Mutex;

use polywire_conformance::{Backend, Direction, FaultProxy, Hook, Space, Suite};
use polywire_core::{AnyTransport, Error, ErrorKind, Result};

use self::broker::{Broker, lock};
use self::transport::Tcp;

fn main() {
    polywire_conformance::main(|| vec![Suite::of(TcpBackend)]);
}

struct TcpBackend;

impl Backend for TcpBackend {
    type Space = BrokerSpace;

    fn name(&self) -> String {
        "tcp".to_owned()
    }

    async fn space(&self) -> Result<BrokerSpace> {
        let broker = Broker::start().await.map_err(no_port)?;
        let network = FaultProxy::start(broker.address.to_string()).await.map_err(no_port)?;
        Ok(BrokerSpace { address: broker.address, broker: Mutex::new(Some(broker)), network })
    }
}

/// A broker of its own, and a network in front of it that can be disturbed.
struct BrokerSpace {
    address: SocketAddr,
    /// `None` while the broker is dead.
    broker: Mutex<Option<Broker>>,
    network: FaultProxy,
}

impl Space for BrokerSpace {
    async fn serving(&self) -> Result<AnyTransport> {
        Ok(AnyTransport::new(Tcp::new(self.network.address())))
    }

    async fn calling(&self) -> Result<AnyTransport> {
        self.serving().await
    }

    fn hooks(&self) -> Vec<Hook> {
        let holes = [Direction::ToServer, Direction::ToClient].map(Hook::BlackHole);
        [Hook::Sever, Hook::CutMidFrame, Hook::KillBroker].into_iter().chain(holes).collect()
    }

    async fn disturb(&self, hook: Hook) -> Result<()> {
        match hook {
            Hook::Sever => self.network.sever(),
            Hook::BlackHole(direction) => self.network.black_hole(direction),
            Hook::CutMidFrame => self.network.cut_mid_frame(Direction::ToServer),
            Hook::KillBroker => drop(lock(&self.broker).take()),
            _ => return Err(Error::unsupported("hook")),
        }
        Ok(())
    }

    async fn heal(&self) -> Result<()> {
        self.network.heal();
        if lock(&self.broker).is_none() {
            let broker = Broker::start_at(self.address).await.map_err(no_port)?;
            *lock(&self.broker) = Some(broker);
        }
        Ok(())
    }
}

fn no_port(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, "cannot bind a port for the broker").with_source(error)
}
