//! The reactor whose streams are filtered.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_core::Stream;
use futures_io::{AsyncRead, AsyncWrite};
use lapin::tcp::AsyncTcpStream;

use crate::connection::engine_log_silencer::{EngineExecutor, EngineLog};
use crate::connection::inbound_filter::filtered_stream::FilteredStream;

/// The runtime for the engine: tokio, with filtered streams and the engine's log.
pub(in crate::connection) type EngineRuntime =
    Runtime<RuntimeParts<EngineExecutor, FilteringReactor>>;
/// The stream of a connection, plain or with TLS.
pub(crate) type EngineStream = FilteredStream<AsyncTcpStream<<Tokio as Reactor>::TcpStream>>;

/// Returns the runtime for an engine on the current tokio runtime. Panics outside of a runtime.
pub(in crate::connection) fn current_runtime(log: EngineLog) -> EngineRuntime {
    let tokio = Tokio::current();
    Runtime::new(RuntimeParts::new(
        EngineExecutor { tokio: tokio.clone(), log },
        FilteringReactor(tokio),
    ))
}

/// Tokio's reactor with another type of stream. The engine gets its stream ready made, so it opens
/// none.
#[derive(Clone, Debug)]
pub(crate) struct FilteringReactor(Tokio);

impl Reactor for FilteringReactor {
    type TcpStream = EngineStream;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<EngineStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async { Ok(FilteredStream::new(AsyncTcpStream::Plain(connecting.await?), 0)) }
    }
}
