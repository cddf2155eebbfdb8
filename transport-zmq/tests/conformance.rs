//! The conformance suite on both engines: `cargo test -p polywire-zmq --all-features --test conformance`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polywire_conformance::{Backend, Space, Suite};
use polywire_core::{AnyTransport, Result};
use polywire_zmq::{Engine, Zmq, ZmqBuilder};

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
        Ok(Ports { engine: self.0, serving: Mutex::default() })
    }
}

/// Serving transports at free ports, and calling ones that connect to all that are bound by then.
struct Ports {
    engine: Engine,
    serving: Mutex<Vec<Zmq>>,
}

impl Ports {
    fn bound(&self) -> MutexGuard<'_, Vec<Zmq>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn builder(&self) -> ZmqBuilder {
        Zmq::builder().engine(self.engine).connect_timeout(Duration::from_secs(2))
    }
}

impl Space for Ports {
    async fn serving(&self) -> Result<AnyTransport> {
        let transport = self.builder().bind("tcp://127.0.0.1:*").build()?;
        self.bound().push(transport.clone());
        Ok(AnyTransport::new(transport))
    }

    async fn calling(&self) -> Result<AnyTransport> {
        let mut bound: Vec<_> = self.bound().iter().flat_map(Zmq::local_endpoints).collect();
        if bound.is_empty() {
            // Bound by nobody, since ports below 1024 take a privilege.
            bound.push("tcp://127.0.0.1:1".to_owned());
        }
        let transport = bound.into_iter().fold(self.builder(), ZmqBuilder::connect).build()?;
        Ok(AnyTransport::new(transport))
    }
}
