//! A client of probes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Returns a free address of the loopback interface. On Linux, each is returned only once, and no
/// other process uses its host, so that the address stays free.
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

/// Returns the host of this process, on Linux, where the loopback interface has all of 127.0.0.0/8.
///
/// The id of a process has 22 bits at most.
fn own_host() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    match cfg!(target_os = "linux") {
        true => Ipv4Addr::new(127, 64 | high, middle, low),
        false => Ipv4Addr::LOCALHOST,
    }
}

/// Asks for a path, and returns the status and the body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    send(address, &format!("GET {path} HTTP/1.1\r\nhost: probe\r\n\r\n")).await
}

/// Sends the text of a request, and returns the status and the body.
pub(crate) async fn send(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
