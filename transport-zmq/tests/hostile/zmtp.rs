//! The bytes of hostile peers: ZMTP 3.0 by hand, valid and malformed.

use crate::rng::Rng;

/// Returns a valid greeting.
pub(crate) fn greeting() -> Vec<u8> {
    let mut greeting = vec![0; 64];
    greeting[0] = 0xFF;
    greeting[9] = 0x7F;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

/// Returns a command frame.
pub(crate) fn command(name: &[u8], data: &[u8]) -> Vec<u8> {
    let body = [&[name.len() as u8], name, data].concat();
    frame(0x04, &body)
}

/// Returns a frame with these flags: 1 if more frames follow, 4 for a command.
pub(crate) fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(len) => [&[flags, len], body].concat(),
        Err(_) => [&announced(flags, body.len() as u64), body].concat(),
    }
}

/// Returns the beginning of a frame that announces a length.
pub(crate) fn announced(flags: u8, len: u64) -> Vec<u8> {
    [&[flags | 0x02][..], &len.to_be_bytes()].concat()
}

/// Returns a property of a READY command.
pub(crate) fn property(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name, &(value.len() as u32).to_be_bytes(), value].concat()
}

/// Returns the greeting and the READY command of a peer of this kind.
pub(crate) fn introduction(kind: &[u8], identity: &[u8]) -> Vec<u8> {
    let ready = [property(b"Socket-Type", kind), property(b"Identity", identity)].concat();
    [greeting(), command(b"READY", &ready)].concat()
}

/// Returns a request to `echo` in the native envelope.
pub(crate) fn request(id: u64) -> Vec<u8> {
    let numbers = [&id.to_be_bytes()[..], &10_000_u32.to_be_bytes()].concat();
    [
        b"P\x01\x01\x03",
        &numbers[..],
        b"\x01\x04echo\x02\x04echo\x04\x04\x01ab!",
        b"\x81\x02\x91\x07",
    ]
    .concat()
}

/// A way to be malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malice {
    /// The greeting is noise, ends early, or is of another version or mechanism.
    Greeting,
    /// The first command is not READY, or not a command.
    WrongCommand,
    /// READY has malformed properties.
    Properties,
    /// The socket kind is incompatible.
    WrongKind,
    /// A length of up to 2^62, in the handshake or after it.
    Length,
    /// Every frame announces another one.
    EndlessMore,
    /// Invalid commands follow the handshake.
    LateCommand,
    /// Heartbeats are too short, too long, out of place, or reply to none.
    Heartbeat,
    /// One field of the envelope is malformed.
    Envelope,
    /// Valid bytes end too early.
    Truncated,
}

impl Malice {
    pub(crate) const ALL: [Self; 10] = [
        Self::Greeting,
        Self::WrongCommand,
        Self::Properties,
        Self::WrongKind,
        Self::Length,
        Self::EndlessMore,
        Self::LateCommand,
        Self::Heartbeat,
        Self::Envelope,
        Self::Truncated,
    ];

    /// Returns bytes of this sort.
    pub(crate) fn bytes(self, rng: &mut Rng, more_bytes: usize) -> Vec<u8> {
        match self {
            Self::Greeting => malformed_greeting(rng),
            Self::WrongCommand => wrong_command(rng),
            Self::Properties => malformed_properties(rng),
            Self::WrongKind => {
                let kinds: [&[u8]; 8] =
                    [b"STREAM", b"PUB", b"SUB", b"PUSH", b"PAIR", b"", b"XYZZY", &[b'A'; 200]];
                [introduction(rng.pick(&kinds), b""), frame(0, &request(1))].concat()
            }
            Self::Length => {
                let len = rng.pick(&[
                    1 << 62,
                    u64::MAX,
                    1 << 63,
                    1 << 40,
                    64 << 30,
                    1 << 30,
                    (64 << 20) + (1 << 18),
                ]);
                let flags = rng.pick(&[0, 1, 4, 5, 0xF8]);
                let before =
                    if rng.below(2) == 0 { greeting() } else { introduction(b"DEALER", b"") };
                let noise = rng.bytes(2000);
                [before, announced(flags, len), noise].concat()
            }
            Self::EndlessMore => {
                let size = rng.pick(&[0, 1, 2, 60, 3000]);
                let one = frame(1, &rng.bytes(size));
                [introduction(b"DEALER", b""), one.repeat(more_bytes / one.len())].concat()
            }
            Self::LateCommand => late_command(rng),
            Self::Heartbeat => heartbeats(rng),
            Self::Envelope => {
                let altered = alter(rng, request(1));
                let body = rng.bytes(5);
                let frames = if rng.below(2) == 0 {
                    frame(0, &altered)
                } else {
                    [frame(1, &altered), frame(0, &body)].concat()
                };
                [introduction(b"DEALER", b""), frames].concat()
            }
            Self::Truncated => {
                let mut whole = [introduction(b"DEALER", b""), frame(0, &request(1))].concat();
                whole.truncate(rng.below(whole.len()));
                whole
            }
        }
    }
}

fn malformed_greeting(rng: &mut Rng) -> Vec<u8> {
    let mut greeting = greeting();
    match rng.below(5) {
        0 => {
            let len = rng.below(200);
            return rng.bytes(len);
        }
        1 => greeting[10] = rng.pick(&[0, 1, 2, 4, 255]),
        2 => {
            let noise = rng.bytes(20);
            greeting[12..32].copy_from_slice(&noise);
        }
        3 => greeting[12..17].copy_from_slice(b"CURVE"),
        _ => {
            let at = rng.below(64);
            greeting[at] ^= rng.byte() | 1;
        }
    }
    greeting
}

fn wrong_command(rng: &mut Rng) -> Vec<u8> {
    let names: [&[u8]; 8] =
        [b"HELLO", b"INITIATE", b"PING", b"SUBSCRIBE", b"ERROR", b"", b"READYREADY", &[0xFF; 250]];
    let data = rng.bytes(40);
    let wrong = match rng.below(4) {
        0 => frame(0, &request(1)),
        1 => frame(0x04, b""),
        2 => frame(0x04, b"\xFFREADY"),
        _ => command(rng.pick(&names), &data),
    };
    [greeting(), wrong].concat()
}

fn malformed_properties(rng: &mut Rng) -> Vec<u8> {
    let kind = property(b"Socket-Type", b"DEALER");
    let altered = match rng.below(6) {
        0 => [kind, vec![200], rng.bytes(20)].concat(),
        1 => [kind, b"\x01X\xFF\xFF\xFF\xFFabc".to_vec()].concat(),
        2 => [kind.clone(), kind.clone(), property(b"Socket-Type", b"PUB")].concat(),
        3 => [kind, property(b"Identity", &[7; 300])].concat(),
        4 => [kind, property(b"Identity", b"\0fake")].concat(),
        _ => alter(rng, kind),
    };
    [greeting(), command(b"READY", &altered), frame(0, &request(1))].concat()
}

fn late_command(rng: &mut Rng) -> Vec<u8> {
    let noise = rng.bytes(50);
    let late = match rng.below(6) {
        0 => command(b"PING", b""),
        1 => command(b"PING", &[0xFF; 2000]),
        2 => command(b"SUBSCRIBE", &noise),
        3 => command(b"READY", &property(b"Socket-Type", b"DEALER")),
        4 => command(b"ERROR", b"\xFFx"),
        _ => command(&noise, &noise),
    };
    [introduction(b"DEALER", b""), late, frame(0, &request(1))].concat()
}

/// Returns a series of heartbeats. PING has a time to live of 2 bytes and a context of up to 16
/// bytes, PONG the context alone.
fn heartbeats(rng: &mut Rng) -> Vec<u8> {
    let some: Vec<u8> = (0..=rng.below(20)).flat_map(|_| heartbeat(rng)).collect();
    let before = if rng.below(4) == 0 { greeting() } else { introduction(b"DEALER", b"") };
    [before, some, frame(0, &request(1))].concat()
}

fn heartbeat(rng: &mut Rng) -> Vec<u8> {
    let names: [&[u8]; 6] = [b"PING", b"PING", b"PONG", b"ping", b"PINGPING", b"PIN"];
    let name = rng.pick(&names);
    let size = rng.pick(&[0, 1, 2, 3, 17, 18, 19, 20, 249, 250, 251, 3000, 70_000]);
    let mut data = rng.bytes(size);
    if let Some(time_to_live) = data.get_mut(..2) {
        time_to_live.copy_from_slice(&rng.pick(&[0_u16, 1, 0x7FFF, 0xFFFF]).to_be_bytes());
    }
    let body = [&[name.len() as u8], name, &data].concat();
    match rng.below(8) {
        // A message instead of a command, or a command with more frames.
        0 => frame(0, &body),
        1 => frame(5, &body),
        // A length in eight bytes where one suffices.
        2 => [announced(4, body.len() as u64), body].concat(),
        // Fewer bytes than announced, so that the next frame counts as the rest.
        3 => [announced(4, body.len() as u64 + 10), body].concat(),
        // The length of the name is wrong.
        4 => frame(4, &[&[name.len() as u8 + 100][..], &body[1..]].concat()),
        _ => frame(4, &body),
    }
}

/// Returns a valid PING with the longest context.
pub(crate) fn ping() -> Vec<u8> {
    command(b"PING", &[&[0, 0][..], &[7; 16]].concat())
}

/// Alters, removes or inserts a byte, or truncates the rest.
fn alter(rng: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len().max(1));
        match rng.below(4) {
            0 if at < bytes.len() => bytes[at] = rng.byte(),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at, rng.pick(&[0, 0x7F, 0x80, 0xFF])),
            _ => bytes.truncate(at),
        }
    }
    bytes
}
