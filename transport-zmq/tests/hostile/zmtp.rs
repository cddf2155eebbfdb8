//! What strangers write to a port: ZMTP 3.0 by hand, whole and bent.

use crate::support::Dice;

/// Whole: it is what an honest peer begins with.
pub(crate) fn greeting() -> Vec<u8> {
    let mut greeting = vec![0; 64];
    greeting[0] = 0xFF;
    greeting[9] = 0x7F;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

pub(crate) fn command(name: &[u8], data: &[u8]) -> Vec<u8> {
    let body = [&[name.len() as u8], name, data].concat();
    frame(0x04, &body)
}

/// A frame of these flags: 1 that more follow, 4 that it is a command.
pub(crate) fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    match u8::try_from(body.len()) {
        Ok(len) => [&[flags, len], body].concat(),
        Err(_) => [&announced(flags, body.len() as u64), body].concat(),
    }
}

/// A frame that says how long it will be.
pub(crate) fn announced(flags: u8, len: u64) -> Vec<u8> {
    [&[flags | 0x02][..], &len.to_be_bytes()].concat()
}

pub(crate) fn property(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name, &(value.len() as u32).to_be_bytes(), value].concat()
}

/// Greeting and READY of a peer of this kind.
pub(crate) fn introduction(kind: &[u8], identity: &[u8]) -> Vec<u8> {
    let ready = [property(b"Socket-Type", kind), property(b"Identity", identity)].concat();
    [greeting(), command(b"READY", &ready)].concat()
}

/// A request to `echo` in our own envelope.
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
    /// READY holds properties that are none.
    Properties,
    /// A socket of a kind that does not fit.
    WrongKind,
    /// A length of up to 2^62, in the handshake or after it.
    Length,
    /// Frames that announce more frames, without an end.
    EndlessMore,
    /// Commands after the handshake that make no sense.
    LateCommand,
    /// Heartbeats that are too short, too long, in the wrong place, or answers to none.
    Heartbeat,
    /// An envelope with one of its fields wrong.
    Envelope,
    /// What is right until it ends too early.
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

    /// Bytes of this sort.
    pub(crate) fn bytes(self, dice: &mut Dice, more_bytes: usize) -> Vec<u8> {
        match self {
            Self::Greeting => bent_greeting(dice),
            Self::WrongCommand => wrong_command(dice),
            Self::Properties => bent_properties(dice),
            Self::WrongKind => {
                let kinds: [&[u8]; 8] =
                    [b"STREAM", b"PUB", b"SUB", b"PUSH", b"PAIR", b"", b"XYZZY", &[b'A'; 200]];
                [introduction(dice.pick(&kinds), b""), frame(0, &request(1))].concat()
            }
            Self::Length => {
                let len = dice.pick(&[
                    1 << 62,
                    u64::MAX,
                    1 << 63,
                    1 << 40,
                    64 << 30,
                    1 << 30,
                    (64 << 20) + (1 << 18),
                ]);
                let flags = dice.pick(&[0, 1, 4, 5, 0xF8]);
                let before =
                    if dice.below(2) == 0 { greeting() } else { introduction(b"DEALER", b"") };
                let noise = dice.bytes(2000);
                [before, announced(flags, len), noise].concat()
            }
            Self::EndlessMore => {
                let size = dice.pick(&[0, 1, 2, 60, 3000]);
                let one = frame(1, &dice.bytes(size));
                [introduction(b"DEALER", b""), one.repeat(more_bytes / one.len())].concat()
            }
            Self::LateCommand => late_command(dice),
            Self::Heartbeat => heartbeats(dice),
            Self::Envelope => {
                let bent = bend(dice, request(1));
                let body = dice.bytes(5);
                let frames = if dice.below(2) == 0 {
                    frame(0, &bent)
                } else {
                    [frame(1, &bent), frame(0, &body)].concat()
                };
                [introduction(b"DEALER", b""), frames].concat()
            }
            Self::Truncated => {
                let mut whole = [introduction(b"DEALER", b""), frame(0, &request(1))].concat();
                whole.truncate(dice.below(whole.len()));
                whole
            }
        }
    }
}

fn bent_greeting(dice: &mut Dice) -> Vec<u8> {
    let mut greeting = greeting();
    match dice.below(5) {
        0 => {
            let len = dice.below(200);
            return dice.bytes(len);
        }
        1 => greeting[10] = dice.pick(&[0, 1, 2, 4, 255]),
        2 => {
            let noise = dice.bytes(20);
            greeting[12..32].copy_from_slice(&noise);
        }
        3 => greeting[12..17].copy_from_slice(b"CURVE"),
        _ => {
            let at = dice.below(64);
            greeting[at] ^= dice.roll() as u8 | 1;
        }
    }
    greeting
}

fn wrong_command(dice: &mut Dice) -> Vec<u8> {
    let names: [&[u8]; 8] =
        [b"HELLO", b"INITIATE", b"PING", b"SUBSCRIBE", b"ERROR", b"", b"READYREADY", &[0xFF; 250]];
    let data = dice.bytes(40);
    let wrong = match dice.below(4) {
        0 => frame(0, &request(1)),
        1 => frame(0x04, b""),
        2 => frame(0x04, b"\xFFREADY"),
        _ => command(dice.pick(&names), &data),
    };
    [greeting(), wrong].concat()
}

fn bent_properties(dice: &mut Dice) -> Vec<u8> {
    let kind = property(b"Socket-Type", b"DEALER");
    let bent = match dice.below(6) {
        0 => [kind, vec![200], dice.bytes(20)].concat(),
        1 => [kind, b"\x01X\xFF\xFF\xFF\xFFabc".to_vec()].concat(),
        2 => [kind.clone(), kind.clone(), property(b"Socket-Type", b"PUB")].concat(),
        3 => [kind, property(b"Identity", &[7; 300])].concat(),
        4 => [kind, property(b"Identity", b"\0fake")].concat(),
        _ => bend(dice, kind),
    };
    [greeting(), command(b"READY", &bent), frame(0, &request(1))].concat()
}

fn late_command(dice: &mut Dice) -> Vec<u8> {
    let noise = dice.bytes(50);
    let late = match dice.below(6) {
        0 => command(b"PING", b""),
        1 => command(b"PING", &[0xFF; 2000]),
        2 => command(b"SUBSCRIBE", &noise),
        3 => command(b"READY", &property(b"Socket-Type", b"DEALER")),
        4 => command(b"ERROR", b"\xFFx"),
        _ => command(&noise, &noise),
    };
    [introduction(b"DEALER", b""), late, frame(0, &request(1))].concat()
}

/// PING has two bytes of a time to live, and a context of up to 16; PONG has the context alone.
fn heartbeats(dice: &mut Dice) -> Vec<u8> {
    let some: Vec<u8> = (0..=dice.below(20)).flat_map(|_| heartbeat(dice)).collect();
    let before = if dice.below(4) == 0 { greeting() } else { introduction(b"DEALER", b"") };
    [before, some, frame(0, &request(1))].concat()
}

fn heartbeat(dice: &mut Dice) -> Vec<u8> {
    let names: [&[u8]; 6] = [b"PING", b"PING", b"PONG", b"ping", b"PINGPING", b"PIN"];
    let name = dice.pick(&names);
    let size = dice.pick(&[0, 1, 2, 3, 17, 18, 19, 20, 249, 250, 251, 3000, 70_000]);
    let mut data = dice.bytes(size);
    if let Some(time_to_live) = data.get_mut(..2) {
        time_to_live.copy_from_slice(&dice.pick(&[0_u16, 1, 0x7FFF, 0xFFFF]).to_be_bytes());
    }
    let body = [&[name.len() as u8], name, &data].concat();
    match dice.below(8) {
        // A message, or with more to follow, which no command has.
        0 => frame(0, &body),
        1 => frame(5, &body),
        // Its length in eight bytes, though one would do.
        2 => [announced(4, body.len() as u64), body].concat(),
        // Less than it says, so that what follows is taken for the rest.
        3 => [announced(4, body.len() as u64 + 10), body].concat(),
        // The length of the name is wrong.
        4 => frame(4, &[&[name.len() as u8 + 100][..], &body[1..]].concat()),
        _ => frame(4, &body),
    }
}

/// One that is as it should be, with the longest context.
pub(crate) fn ping() -> Vec<u8> {
    command(b"PING", &[&[0, 0][..], &[7; 16]].concat())
}

/// One byte changed, taken out or put in, or the rest cut off.
fn bend(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len().max(1));
        match dice.below(4) {
            0 if at < bytes.len() => bytes[at] = dice.roll() as u8,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at, dice.pick(&[0, 0x7F, 0x80, 0xFF])),
            _ => bytes.truncate(at),
        }
    }
    bytes
}
