//! Random frames, whole and in parts: the engine parses all that passes.

use amq_protocol::frame::{AMQPFrame, parse_frame};
use lapin::types::AMQPValue;

use crate::connection::inbound_filter::frame_filter::FrameFilter;
use crate::wire::native::MALFORMED;

/// Reads `bytes` in parts of random size into buffers of random size, as a stream does.
fn filtered(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let (mut filter, mut input, mut output) = (FrameFilter::new(4096), bytes, Vec::new());
    loop {
        let mut buffer = vec![0; random.usize(1..200)];
        let ready = filter.take_ready(&mut buffer);
        if ready > 0 {
            output.extend(&buffer[..ready]);
            continue;
        }
        if input.is_empty() {
            return output;
        }
        if let Some(lacking) = filter.lacking() {
            let (part, rest) = input.split_at(lacking.min(random.usize(1..100)).min(input.len()));
            filter.complete(part);
            input = rest;
            continue;
        }
        let (part, rest) = input.split_at(buffer.len().min(input.len()));
        buffer[..part.len()].copy_from_slice(part);
        let passed = filter.scan(&mut buffer[..part.len()]);
        output.extend(&buffer[..passed]);
        input = rest;
    }
}

pub(super) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind][..], &channel.to_be_bytes(), &size, payload, b"\xce"].concat()
}

pub(super) fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text].concat()
}

pub(super) fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn text(random: &mut fastrand::Rng) -> Vec<u8> {
    let texts: [&[u8]; 3] = if random.u8(..16) == 0 {
        [b"gr\xf6\xdfe", b"cut \xc3", b"\xff"]
    } else {
        [b"", b"plain", "größe".as_bytes()]
    };
    random.choice(texts).unwrap_or_default().to_vec()
}

fn value(random: &mut fastrand::Rng, depth: u32) -> Vec<u8> {
    let letter = *random.choice(b"tbBsUuIifDLldTSxVAFtbBsUuIifDLldTSxVAF?").unwrap();
    let bytes = match letter {
        b't' | b'b' | b'B' => vec![7],
        b's' | b'U' | b'u' => vec![7; 2],
        b'I' | b'i' | b'f' => vec![7; 4],
        b'D' => vec![7; 5],
        b'L' | b'l' | b'd' | b'T' => vec![7; 8],
        b'S' | b'x' => long(&text(random)),
        b'A' if depth < 20 => {
            long(&(0..2).flat_map(|_| value(random, depth + 1)).collect::<Vec<_>>())
        }
        b'F' if depth < 20 => long(&table(random, depth + 1)),
        _ => Vec::new(),
    };
    [vec![letter], bytes].concat()
}

fn table(random: &mut fastrand::Rng, depth: u32) -> Vec<u8> {
    let entry = |random: &mut fastrand::Rng| [short(&text(random)), value(random, depth)].concat();
    (0..random.u8(..3)).flat_map(|_| entry(random)).collect()
}

fn content_header(random: &mut fastrand::Rng) -> Vec<u8> {
    let flags = random.u16(..) & if random.bool() { 0xfffc } else { 0xffff };
    let mut payload =
        [&[0, 60, 0, 0][..], &[0, 0, 0, 0, 0, 0, 0, 1], &flags.to_be_bytes()].concat();
    for index in (0..14).filter(|index| flags & (1 << (15 - index)) != 0) {
        payload.extend(match index {
            2 => long(&table(random, 0)),
            3 | 4 => vec![1],
            9 => vec![1; 8],
            _ => short(&text(random)),
        });
    }
    match random.u8(..16) {
        0 => payload.truncate(random.usize(14..=payload.len())),
        1 => payload.extend(b"more"),
        2 => payload.extend(vec![b'x'; 5_000]),
        3 => {
            let at = random.usize(14..=payload.len() - 1).max(14);
            payload[at] = random.u8(..);
        }
        _ => {}
    }
    payload
}

fn deliver(random: &mut fastrand::Rng) -> Vec<u8> {
    let texts = [text(random), text(random)].map(|text| short(&text)).concat();
    [&[0, 60, 0, 60][..], &short(b"tag"), &[0, 0, 0, 0, 0, 0, 0, 1, 0], &texts].concat()
}

fn frames(mut bytes: &[u8]) -> Vec<AMQPFrame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (rest, frame) = parse_frame(bytes).unwrap();
        frames.push(frame);
        bytes = rest;
    }
    frames
}

pub(super) fn is_malformed(frame: &AMQPFrame) -> bool {
    let AMQPFrame::Header(_, header) = frame else { panic!("{frame:?}") };
    let headers = header.properties.headers().as_ref();
    headers.is_some_and(|table| table.inner().contains_key(MALFORMED))
}

#[test]
fn engine_parses_each_frame_that_passes() {
    let random = &mut fastrand::Rng::with_seed(7);
    let mut rewritten = 0;
    for _ in 0..5_000 {
        let parts = [
            frame(1, 1, &deliver(random)),
            frame(2, 1, &content_header(random)),
            frame(3, 1, b"\xff"),
            frame(8, 0, b""),
        ];
        let passed = filtered(&parts.concat(), random);
        let frames = frames(&passed);
        assert_eq!(frames.len(), 4);
        let is_intact = parts.iter().all(|part| parse_frame(&**part).is_ok() && part.len() <= 4096);
        assert_eq!(is_intact, passed == parts.concat(), "{parts:?}");
        assert_eq!(is_intact, !is_malformed(&frames[1]), "{parts:?}");
        rewritten += u32::from(!is_intact);
    }
    assert!((1_000..4_800).contains(&rewritten), "{rewritten} of 5000 were rewritten");
}

#[test]
fn well_formed_properties_of_a_malformed_message_are_kept() {
    let properties = [short(b"application/json"), short(b"7"), short(b"gr\xf6\xdfe")].concat();
    let flags = ((1_u16 << 15) | (1 << 10) | (1 << 5)).to_be_bytes();
    let header = [&[0, 60, 0, 0][..], &[0; 8], &flags, &properties].concat();
    let passed = filtered(&frame(2, 1, &header), &mut fastrand::Rng::with_seed(1));
    let [AMQPFrame::Header(1, header)] = &frames(&passed)[..] else { panic!("{passed:?}") };
    let properties = &header.properties;
    let texts = [properties.content_type(), properties.correlation_id(), properties.kind()];
    let texts = texts.map(|text| text.as_ref().unwrap().as_str());
    assert_eq!(texts, ["application/json", "7", "gr??e"]);
    let cause = &properties.headers().as_ref().unwrap().inner()[MALFORMED];
    assert_eq!(cause, &AMQPValue::LongString("its property `type` is not UTF-8".into()));
}

/// The broker cuts its reasons at 255 bytes.
#[test]
fn reason_that_is_cut_within_a_character_is_parsed() {
    let reason = [&[b'x'; 254][..], b"\xc3"].concat();
    let close = [&[0, 20, 0, 40][..], &[1, 148], &short(&reason), &[0, 60, 0, 40]].concat();
    let passed = filtered(&frame(1, 3, &close), &mut fastrand::Rng::with_seed(2));
    let [AMQPFrame::Method(3, method)] = &frames(&passed)[..] else { panic!("{passed:?}") };
    assert!(format!("{method:?}").contains("xxx?"), "{method:?}");
}

/// The broker may allow less than was asked for.
#[test]
fn negotiated_frame_size_bounds_content_headers() {
    let tune = |frame_max: u32| {
        frame(1, 0, &[&[0, 10, 0, 30, 7, 255][..], &frame_max.to_be_bytes(), &[0, 60]].concat())
    };
    let flags = (1_u16 << 13).to_be_bytes();
    let entry = [&short(b"n")[..], b"S", &long(&[b'x'; 5_000])].concat();
    let header = [&[0, 60, 0, 0][..], &[0; 8], &flags, &long(&entry)].concat();
    for (ours, theirs, is_rewritten) in
        [(0, 4096, true), (131_072, 4096, true), (131_072, 0, false), (0, 131_072, false)]
    {
        let mut bytes = [tune(theirs), frame(2, 1, &header)].concat();
        let mut filter = FrameFilter::new(ours);
        let passed = filter.scan(&mut bytes);
        let mut ready = vec![0; 10_000];
        let count = filter.take_ready(&mut ready);
        let frames = frames(&[&bytes[..passed], &ready[..count]].concat());
        assert_eq!(is_malformed(&frames[1]), is_rewritten, "{ours} {theirs}");
    }
}
