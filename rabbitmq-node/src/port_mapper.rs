//! The port mapper of Erlang (`epmd`), through which the nodes of a cluster find one another.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::installation::Installation;
use crate::ports;

/// A private port mapper. The first node starts it; dropping the mapper ends it.
pub(crate) struct PortMapper {
    port: u16,
    installation: Installation,
}

impl PortMapper {
    /// Returns a mapper of the installation below `root`, or of that which the environment selects.
    ///
    /// # Errors
    ///
    /// If RabbitMQ is not installed, or no port is free.
    pub(crate) fn new(root: Option<&Path>) -> io::Result<Self> {
        Ok(Self { installation: Installation::find(root)?, port: ports::free()? })
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
