//! A backend of one's own, on the suite: messages by way of a small hub, over TCP.
//!
//! ```text
//! cargo run -p polywire-conformance --example tcp
//! cargo run -p polywire-conformance --example tcp -- servers. --nocapture
//! ```
//!
//! Read `transport.rs` first, which is what core sees; then `link.rs`, `wire.rs` and `hub.rs`.

mod hub;
mod link;
mod transport;
mod wire;

use std::net::SocketAddr;
use std::sync::Mutex;

use polywire_conformance::{Backend, Direction, Hook, Proxy, Space, Suite};
use polywire_core::{AnyTransport, Error, ErrorKind, Result};

use self::hub::{Hub, lock};
use self::transport::Tcp;

fn main() {
    polywire_conformance::main(|| vec![Suite::of(TcpBackend)]);
}

struct TcpBackend;

impl Backend for TcpBackend {
    type Space = Place;

    fn name(&self) -> String {
        "tcp".to_owned()
    }

    async fn space(&self) -> Result<Place> {
        let hub = Hub::start().await.map_err(no_port)?;
        let network = Proxy::start(hub.address.to_string()).await.map_err(no_port)?;
        Ok(Place { address: hub.address, hub: Mutex::new(Some(hub)), network })
    }
}

/// A hub of its own, and a network before it that can be made a bad one.
struct Place {
    address: SocketAddr,
    hub: Mutex<Option<Hub>>,
    network: Proxy,
}

impl Space for Place {
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
            Hook::KillBroker => drop(lock(&self.hub).take()),
            _ => return Err(Error::unsupported("hook")),
        }
        Ok(())
    }

    async fn heal(&self) -> Result<()> {
        self.network.heal();
        if lock(&self.hub).is_none() {
            let hub = Hub::start_at(self.address).await.map_err(no_port)?;
            *lock(&self.hub) = Some(hub);
        }
        Ok(())
    }
}

fn no_port(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, "there is no port for a hub").with_source(error)
}
