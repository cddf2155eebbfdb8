//! The installation of RabbitMQ on this machine.

use std::io;
use std::path::{Path, PathBuf};

/// The folder of the programs in Debian's package. The programs in `/usr/sbin` are wrappers that
/// insist on their own user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(PROGRAMS).join(name)
}

pub(crate) fn is_there() -> bool {
    program("rabbitmq-server").exists()
}

/// Fails if RabbitMQ is not installed, with the command that installs it.
pub(crate) fn check() -> io::Result<()> {
    if is_there() {
        return Ok(());
    }
    let missing =
        "RabbitMQ is not installed: install it (on Debian: apt-get install rabbitmq-server)";
    Err(io::Error::new(io::ErrorKind::NotFound, missing))
}
