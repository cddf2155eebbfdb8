//! A small backend on the suite: requests and replies over Unix sockets, by way of a broker.
//!
//! Every endpoint handle is a connection to the broker. The broker opens an endpoint handle of
//! `Memory` for each connection. A lost connection is not replaced: a client that loses the broker
//! loses its endpoint handles. The other example, `tcp`, reconnects, and has the other patterns.
//!
//! ```text
//! cargo test -p polywire-conformance --test unix
//! ```
//!
//! Read `transport.rs` first, which core calls; then `link.rs`, `wire.rs` and `broker.rs`.

mod broker;
mod link;
mod transport;
mod wire;

use polywire_conformance::{Backend, Space, Suite};
use polywire_core::{AnyTransport, Error, ErrorKind, Result};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

use self::transport::Unix;

fn main() {
    polywire_conformance::main(|| vec![Suite::of(UnixBackend)]);
}

struct UnixBackend;

impl Backend for UnixBackend {
    type Space = BrokerSpace;

    fn name(&self) -> String {
        "unix".to_owned()
    }

    async fn space(&self) -> Result<BrokerSpace> {
        let folder = TempDir::new().map_err(no_socket)?;
        let listener = UnixListener::bind(folder.path().join(SOCKET)).map_err(no_socket)?;
        let broker = tokio::spawn(broker::accept(listener)).abort_handle();
        Ok(BrokerSpace { folder, broker })
    }
}

/// The name of the broker's socket in its folder.
const SOCKET: &str = "broker";

/// A broker of its own, whose socket is removed with the space.
struct BrokerSpace {
    folder: TempDir,
    broker: AbortHandle,
}

impl Space for BrokerSpace {
    async fn serving(&self) -> Result<AnyTransport> {
        Ok(AnyTransport::new(Unix::new(self.folder.path().join(SOCKET))))
    }

    async fn calling(&self) -> Result<AnyTransport> {
        self.serving().await
    }
}

impl Drop for BrokerSpace {
    fn drop(&mut self) {
        self.broker.abort();
    }
}

fn no_socket(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, "cannot bind a socket for the broker").with_source(error)
}
