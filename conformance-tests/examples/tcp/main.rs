//! A backend of one's own, on the suite: messages by way of a small hub, over TCP.
//!
//! ```text
//! cargo run -p polywire-conformance --example tcp
//! cargo run -p polywire-conformance --example tcp -- servers. --nocapture
//! ```
//!
//! Read [`transport`] first, which is what core sees; then `link`, `wire` and `hub`.

mod hub;
mod link;
mod transport;
mod wire;

use polywire_conformance::{Backend, Space, Suite};
use polywire_core::{AnyTransport, Error, ErrorKind, Result};

use self::hub::Hub;
use self::transport::Tcp;

fn main() {
    polywire_conformance::main(|| vec![Suite::of(TcpBackend)]);
}

struct TcpBackend;

impl Backend for TcpBackend {
    type Space = Hub;

    fn name(&self) -> String {
        "tcp".to_owned()
    }

    async fn space(&self) -> Result<Hub> {
        let no_port = |error| Error::new(ErrorKind::Config, "there is no port for a hub").with_source(error);
        Hub::start().await.map_err(no_port)
    }
}

/// A hub of its own is a space: whatever connects to it is there, and nothing else.
impl Space for Hub {
    async fn serving(&self) -> Result<AnyTransport> {
        Ok(AnyTransport::new(Tcp::new(self.address)))
    }

    async fn calling(&self) -> Result<AnyTransport> {
        Ok(AnyTransport::new(Tcp::new(self.address)))
    }
}
