//! Who has declined a request, as headers.

use std::collections::BTreeMap;

use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::message::History;

use super::{number, text};
use crate::wire::Declines;

/// The names of the servers that have declined, with a space between.
const BY: &str = "polywire.declined";
const BECAUSE: &str = "polywire.declined.because";
const PASSES: &str = "polywire.declined.passes";

type Pairs = BTreeMap<ShortString, AMQPValue>;

/// Writes who has declined, in place of what is there.
pub(super) fn write(headers: &mut Pairs, declines: Option<&Declines>) {
    for name in [BY, BECAUSE, PASSES] {
        headers.remove(name);
    }
    let Some(Declines { by, because, passes }) = declines else { return };
    // Every hop pays for it, and a header has to fit into a frame.
    let because = &because[..because.floor_char_boundary(History::ERROR_MAX)];
    headers.insert(BY.into(), AMQPValue::LongString(by.join(" ").into()));
    headers.insert(BECAUSE.into(), AMQPValue::LongString(because.into()));
    headers.insert(PASSES.into(), AMQPValue::LongLongInt((*passes).into()));
}

/// Reads who has declined.
pub(super) fn read(headers: &FieldTable) -> Option<Declines> {
    let headers = headers.inner();
    let read = |name| text(headers.get(name)?)?.ok();
    let by = read(BY)?.split_whitespace().map(str::to_owned).collect();
    let passes = headers.get(PASSES).and_then(number).unwrap_or(0);
    Some(Declines { by, because: read(BECAUSE).unwrap_or_default(), passes })
}
