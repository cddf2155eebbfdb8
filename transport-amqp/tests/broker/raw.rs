//! A publisher that writes AMQP frames by hand, for messages that no library would write.

use std::io::{Read, Write};
use std::net::TcpStream;

use lapin::uri::AMQPUri;

/// A connection with one open channel. It is closed without a handshake on drop.
pub(crate) struct RawPublisher {
    socket: TcpStream,
}

/// A value in the header table, with the letter of its type.
pub(crate) enum Field {
    Text(Vec<u8>),
    Table(Vec<u8>),
}

impl RawPublisher {
    /// Connects as the user of the URL, and opens channel 1.
    pub(crate) fn connect(url: &str) -> Self {
        let uri: AMQPUri = url.parse().unwrap();
        let authority = &uri.authority;
        let socket = TcpStream::connect((authority.host.as_str(), authority.port)).unwrap();
        let mut raw = Self { socket };
        raw.socket.write_all(b"AMQP\0\0\x09\x01").unwrap();
        raw.answer(10, 10);
        let user = &authority.userinfo;
        let login = format!("\0{}\0{}", user.username, user.password);
        let start_ok =
            [&long(b"")[..], &short(b"PLAIN"), &long(login.as_bytes()), &short(b"en_US")];
        raw.method(0, 10, 11, &start_ok.concat());
        let tune = raw.answer(10, 30);
        raw.method(0, 10, 31, &tune[..8]);
        raw.method(0, 10, 40, &[&short(uri.vhost.as_bytes())[..], &short(b""), b"\0"].concat());
        raw.answer(10, 41);
        raw.method(1, 20, 10, &short(b""));
        raw.answer(20, 11);
        raw
    }

    /// Publishes a message with these property flags and bytes, and waits until the broker has it.
    pub(crate) fn publish(
        &mut self,
        exchange: &str,
        routing_key: &[u8],
        flags: u16,
        properties: &[u8],
        body: &[u8],
    ) {
        let to = [&[0, 0][..], &short(exchange.as_bytes()), &short(routing_key), b"\0"].concat();
        self.method(1, 60, 40, &to);
        let size = u64::try_from(body.len()).unwrap().to_be_bytes();
        let header = [&[0, 60, 0, 0][..], &size, &flags.to_be_bytes(), properties].concat();
        self.frame(2, 1, &header);
        self.frame(3, 1, body);
        // The broker handles a channel's methods in order.
        self.method(1, 60, 10, &[&[0; 6][..], b"\0"].concat());
        self.answer(60, 11);
    }

    fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.frame(1, channel, &payload);
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&[kind][..], &channel.to_be_bytes(), &size, payload, b"\xce"].concat();
        self.socket.write_all(&frame).unwrap();
    }

    /// Reads up to a method, and returns its arguments.
    fn answer(&mut self, class: u16, method: u16) -> Vec<u8> {
        loop {
            let mut head = [0; 7];
            self.socket.read_exact(&mut head).unwrap();
            let size = u32::from_be_bytes(head[3..].try_into().unwrap());
            let mut payload = vec![0; usize::try_from(size).unwrap() + 1];
            self.socket.read_exact(&mut payload).unwrap();
            payload.pop();
            let id = [&class.to_be_bytes()[..], &method.to_be_bytes()].concat();
            if payload.starts_with(&id) {
                return payload.split_off(4);
            }
            let text = String::from_utf8_lossy(&payload);
            assert!(!payload.ends_with(b"\0\x28") && payload[..4] != [0, 20, 0, 40], "{text}");
        }
    }
}

/// Property flags.
pub(crate) const CONTENT_TYPE: u16 = 1 << 15;
pub(crate) const HEADERS: u16 = 1 << 13;
pub(crate) const CORRELATION_ID: u16 = 1 << 10;
pub(crate) const REPLY_TO: u16 = 1 << 9;
pub(crate) const TYPE: u16 = 1 << 5;

/// Encodes a short string.
pub(crate) fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

/// Encodes a long string, or a table from its entries.
pub(crate) fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// Encodes an entry of a header table.
pub(crate) fn entry(name: &[u8], value: &Field) -> Vec<u8> {
    let (letter, bytes) = match value {
        Field::Text(bytes) => (b"S", bytes),
        Field::Table(bytes) => (b"F", bytes),
    };
    [&short(name)[..], letter, &long(bytes)].concat()
}
