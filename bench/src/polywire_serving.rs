//! The transport of a serving process of polywire, and its address.

use std::io::Write;

use anyhow::{Context, Result};
use polywire::AnyTransport;
use polywire::zmq::Zmq;

/// The transport of a process that serves or publishes, and the name of its service.
pub(crate) struct Serving {
    pub(crate) transport: AnyTransport,
    /// The name of the service, queue or channel, with the number of the process: no message of an
    /// earlier measurement waits there.
    pub(crate) name: String,
    /// The transport by its own type, which knows its endpoints. `None` over RabbitMQ.
    zmq: Option<Zmq>,
    /// The URL with its options, which the printed address lacks.
    url: String,
}

impl Serving {
    /// Opens the transport of a URL.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let zmq = if url.starts_with("zmq") { Some(Zmq::connect(url).await?) } else { None };
        let transport = match &zmq {
            Some(zmq) => AnyTransport::new(zmq.clone()),
            None => polywire::connect(url).await?,
        };
        let name = format!("bench-{}", std::process::id());
        Ok(Self { transport, name, zmq, url: url.to_owned() })
    }

    /// Returns true for a transport of ZeroMQ.
    pub(crate) fn is_zmq(&self) -> bool {
        self.zmq.is_some()
    }

    /// Prints the address for clients: an endpoint of ZeroMQ or the URL, a space, and the name.
    ///
    /// The address lacks the options of the URL. The endpoint handle has to be open.
    pub(crate) fn print_address(&self) -> Result<()> {
        let at = match &self.zmq {
            Some(zmq) => {
                let endpoints = zmq.local_endpoints();
                format!("zmq+{}", endpoints.first().context("nothing is bound")?)
            }
            None => self.url.split('?').next().unwrap_or_default().to_owned(),
        };
        println!("{at} {}", self.name);
        Ok(std::io::stdout().flush()?)
    }
}
