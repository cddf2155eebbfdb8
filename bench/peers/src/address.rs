//! The address of a server, as the program that compares reads it.

use std::io::Write;

/// Prints the address of a server.
///
/// The line is flushed: the program that compares waits for it, and reads nothing after it.
pub(crate) fn print(address: impl std::fmt::Display) -> std::io::Result<()> {
    println!("{address}");
    std::io::stdout().flush()
}
