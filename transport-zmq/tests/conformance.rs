//! The conformance suite for both engines.
//!
//! ```text
//! cargo test -p polywire-zmq --all-features --test conformance
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polywire_conformance::{Backend, Direction, FaultProxy, Hook, Space, Suite};
use polywire_core::{AnyTransport, Error, ErrorKind, Result};
use polywire_zmq::{Engine, Zmq, ZmqBuilder};
use tokio::sync::Mutex as AsyncMutex;

fn main() {
    polywire_conformance::main(|| {
        let engines = [
            #[cfg(feature = "engine-omq")]
            Engine::Omq,
            #[cfg(feature = "engine-zeromq")]
            Engine::Zeromq,
        ];
        engines.map(|engine| Suite::of(Zeromq(engine))).into()
    });
}

struct Zeromq(Engine);

impl Backend for Zeromq {
    type Space = Ports;

    fn name(&self) -> String {
        format!("zmq-{:?}", self.0).to_lowercase()
    }

    async fn space(&self) -> Result<Ports> {
        Ok(Ports { engine: self.0, serving: Mutex::default(), proxies: AsyncMutex::default() })
    }
}

/// Servers at free ports, and clients that connect to all ports bound so far, each through a TCP
/// proxy of the suite.
struct Ports {
    engine: Engine,
    serving: Mutex<Vec<Zmq>>,
    /// The TCP proxies by the address that they connect to.
    proxies: AsyncMutex<BTreeMap<String, FaultProxy>>,
}

impl Ports {
    fn bound(&self) -> MutexGuard<'_, Vec<Zmq>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn builder(&self) -> ZmqBuilder {
        Zmq::builder().engine(self.engine).connect_timeout(Duration::from_secs(2))
    }

    /// Returns the endpoint of the TCP proxy in front of an endpoint.
    async fn proxied(&self, endpoint: String) -> Result<String> {
        let target = endpoint.trim_start_matches("tcp://").to_owned();
        let mut proxies = self.proxies.lock().await;
        if !proxies.contains_key(&target) {
            let proxy = FaultProxy::start(&*target).await.map_err(|error| {
                Error::new(ErrorKind::Disconnected, "cannot start the TCP proxy").with_source(error)
            })?;
            proxies.insert(target.clone(), proxy);
        }
        Ok(format!("tcp://{}", proxies[&target].address()))
    }
}

impl Space for Ports {
    async fn serving(&self) -> Result<AnyTransport> {
        let transport = self.builder().bind("tcp://127.0.0.1:*").build()?;
        self.bound().push(transport.clone());
        Ok(AnyTransport::new(transport))
    }

    async fn calling(&self) -> Result<AnyTransport> {
        let bound: Vec<_> = self.bound().iter().flat_map(Zmq::local_endpoints).collect();
        let mut builder = self.builder();
        if bound.is_empty() {
            // No test binds a port below 1024, which needs a privilege.
            builder = builder.connect("tcp://127.0.0.1:1");
        }
        for endpoint in bound {
            builder = builder.connect(self.proxied(endpoint).await?);
        }
        Ok(AnyTransport::new(builder.build()?))
    }

    fn hooks(&self) -> Vec<Hook> {
        let holes = [Direction::ToServer, Direction::ToClient].map(Hook::BlackHole);
        [Hook::Sever, Hook::CutMidFrame].into_iter().chain(holes).collect()
    }

    async fn disturb(&self, hook: Hook) -> Result<()> {
        for proxy in self.proxies.lock().await.values() {
            match hook {
                Hook::Sever => proxy.sever(),
                Hook::BlackHole(direction) => proxy.black_hole(direction),
                Hook::CutMidFrame => proxy.cut_mid_frame(Direction::ToServer),
                other => {
                    return Err(Error::new(ErrorKind::Unsupported, "ZeroMQ has no broker")
                        .with("hook", other));
                }
            }
        }
        Ok(())
    }

    async fn heal(&self) -> Result<()> {
        self.proxies.lock().await.values().for_each(FaultProxy::heal);
        Ok(())
    }
}
