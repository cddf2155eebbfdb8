//! The port mapper of Erlang, which tells the nodes of a cluster where the others are.

use std::io;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::ports;

/// A mapper of our own, which the first node starts that needs it. It ends when the last of its
/// nodes is gone.
pub(crate) struct Mapper(u16);

impl Mapper {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(ports::free()?))
    }

    pub(crate) fn port(&self) -> u16 {
        self.0
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        for _ in 0..20 {
            let mut mapper = Command::new("epmd");
            mapper.env("ERL_EPMD_PORT", self.0.to_string()).arg("-kill");
            let ended =
                mapper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            // It refuses while it believes that a node lives, which it does for a moment.
            if ended.is_ok_and(|status| status.success()) {
                break;
            }
            sleep(Duration::from_millis(100));
        }
    }
}
