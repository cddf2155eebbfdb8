//! The port mapper of Erlang (`epmd`), through which the nodes of a cluster find one another.

use std::io;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::ports;

/// A private port mapper. The first node starts it; dropping the mapper ends it.
pub(crate) struct PortMapper(u16);

impl PortMapper {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(ports::free()?))
    }

    pub(crate) fn port(&self) -> u16 {
        self.0
    }
}

impl Drop for PortMapper {
    fn drop(&mut self) {
        for _ in 0..20 {
            let mut mapper = Command::new("epmd");
            mapper.env("ERL_EPMD_PORT", self.0.to_string()).arg("-kill");
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
