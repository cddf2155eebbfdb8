//! Memory that a decoding error costs. This binary counts its allocations.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fmt::Debug;

use peak_alloc::PeakAlloc;
use polywire_codec::{Json, MessagePack};
use polywire_core::{Codec, Error, ErrorKind};
use serde::Deserialize;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;

/// Decodes `bytes`, which are of another type. Returns the error and the peak of memory.
fn failure<C: Codec, T: for<'de> Deserialize<'de> + Debug>(
    codec: &C,
    bytes: &[u8],
) -> (Error, usize) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let error = codec.decode::<T>(bytes).unwrap_err();
    let peak = ALLOCATOR.peak_usage() - before;
    assert_eq!(error.kind(), ErrorKind::Codec);
    (error, peak)
}

/// The only test of the binary, since the allocations of another thread would count, too.
#[test]
fn explaining_costs_no_more_than_failing() {
    // Values of another type cost nothing at all.
    let nils = [&[0xdd, 1, 0, 0, 0][..], &vec![0xc0; 16 * MIB]].concat();
    let (error, peak) = failure::<_, i64>(&MessagePack, &nils);
    assert!(format!("{error:?}").contains("sequence, expected i64"), "{error:?}");
    assert!(peak < MIB / 16, "16 MiB of nil for an i64: {peak} bytes");
    let zeros = [b"[0", &*b",0".repeat(8 * MIB), b"]"].concat();
    let (error, peak) = failure::<_, i64>(&Json, &zeros);
    assert!(format!("{error:?}").contains("sequence, expected i64"), "{error:?}");
    assert!(peak < MIB / 16, "16 MiB of zeros for an i64: {peak} bytes");

    // The error of serde repeats a string; the error that remains is short.
    let text = "x".repeat(16 * MIB);
    let packed = [&[0xdb, 1, 0, 0, 0][..], text.as_bytes()].concat();
    let quoted = format!("\"{text}\"");
    for (name, (error, peak)) in [
        ("MessagePack", failure::<_, Vec<u64>>(&MessagePack, &packed)),
        ("JSON", failure::<_, Vec<u64>>(&Json, quoted.as_bytes())),
    ] {
        let shown = format!("{error:?}");
        assert!(shown.len() < 4096, "{name}: {} bytes of text", shown.len());
        assert!(shown.contains("invalid type: string \"xxx"), "{name}: {shown}");
        // The formatted text grows by doubling, as a vector does; one copy at a time.
        assert!(peak < 50 * MIB, "{name}: a string of 16 MiB for a list: {peak} bytes");
    }

    // A wrong element at the end: the second pass costs what the first pass cost.
    let last = [b"[0", &*b",0".repeat(MIB), b",\"two\"]"].concat();
    let (error, peak) = failure::<_, Vec<u64>>(&Json, &last);
    assert_eq!(error.detail("path"), Some("[1048577]"));
    assert!(peak < 25 * MIB, "a vector of 8 MiB, and twice that while it grows: {peak} bytes");
    let last = [&[0xdd, 0, 0x10, 0, 1][..], &vec![0; MIB], b"\xa1x"].concat();
    let (error, peak) = failure::<_, Vec<u64>>(&MessagePack, &last);
    assert_eq!(error.detail("path"), Some("[1048576]"));
    assert!(peak < 25 * MIB, "a vector of 8 MiB, and twice that while it grows: {peak} bytes");
}
