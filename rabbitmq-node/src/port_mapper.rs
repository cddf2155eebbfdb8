//! The port mapper of Erlang (`epmd`), through which the nodes of a cluster find one another.

use std::io;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::installation::Installation;
use crate::ports;
use crate::setup::Setup;

/// A private port mapper. The first node starts it; dropping the mapper ends it.
///
/// In a [network](crate::Network), each node has a mapper of its own at the same port, which ends
/// with the network.
pub(crate) struct PortMapper {
    port: u16,
    installation: Installation,
    is_shared: bool,
}

impl PortMapper {
    /// Returns a mapper of the installation that a setup names, or of that which the environment
    /// selects.
    ///
    /// # Errors
    ///
    /// If RabbitMQ is not installed, or no port is free.
    pub(crate) fn new(setup: &Setup) -> io::Result<Self> {
        let installation = Installation::find(setup.root.as_deref())?;
        Ok(Self { installation, port: ports::free()?, is_shared: setup.network.is_none() })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the installation of all nodes of this mapper.
    pub(crate) fn installation(&self) -> &Installation {
        &self.installation
    }
}

impl Drop for PortMapper {
    fn drop(&mut self) {
        if !self.is_shared {
            return;
        }
        for _ in 0..20 {
            let mut mapper = self.installation.command("epmd".into());
            mapper.env("ERL_EPMD_PORT", self.port.to_string()).arg("-kill");
            let ended =
                mapper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            // For a moment, the mapper still counts the node as alive, and refuses to end.
            if ended.is_ok_and(|status| status.success()) {
                break;
            }
            sleep(Duration::from_millis(100));
        }
    }
}
