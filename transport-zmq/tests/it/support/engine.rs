//! The engine of this test program: the tests of `it` run on `omq`, those of `it_zeromq` are the
//! same on `zeromq`.

use polywire_zmq::{Engine, Zmq, ZmqBuilder};

/// The engine that every test uses.
pub(crate) const ENGINE: Engine = match env!("CARGO_CRATE_NAME").as_bytes() {
    b"it_zeromq" => Engine::Zeromq,
    _ if cfg!(feature = "engine-omq") => Engine::Omq,
    _ => Engine::Zeromq,
};

/// Returns a builder of a transport with this engine.
pub(crate) fn zmq() -> ZmqBuilder {
    Zmq::builder().engine(ENGINE)
}

/// Reports a test of CURVE or PLAIN as not run on the engine that has neither, and returns from it.
macro_rules! secured_engine {
    () => {
        if $crate::support::engine::ENGINE != polywire_zmq::Engine::Omq {
            not_run!("engine zeromq has neither CURVE nor PLAIN");
        }
    };
}
