//! Addresses of the loopback interface that no other process uses.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Returns the host of this process, on Linux, where the loopback interface has all of 127.0.0.0/8.
///
/// A port of the host that a test frees stays free until the test binds it again: other processes
/// neither listen there nor connect from there. The id of a process has 22 bits at most.
pub(crate) fn own_host() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    match cfg!(target_os = "linux") {
        true => Ipv4Addr::new(127, 64 | high, middle, low),
        false => Ipv4Addr::LOCALHOST,
    }
}

/// Returns a free address of the host of this process, on Linux each only once.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(40_000);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = if cfg!(target_os = "linux") { next } else { 0 };
        // A program may have bound the port on all hosts.
        if let Ok(listener) = TcpListener::bind((own_host(), port)) {
            return listener.local_addr().unwrap();
        }
    }
}
