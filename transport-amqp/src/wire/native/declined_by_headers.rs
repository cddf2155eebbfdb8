//! The headers that record which servers declined a request.

use std::collections::BTreeMap;

use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::message::History;

use super::headers::{count, text};
use crate::wire::declined_by::Declines;

/// The header with the names of the servers, separated by spaces.
const BY: &str = "polywire.declined";
/// The header with the message of the last server's fault.
const BECAUSE: &str = "polywire.declined.because";
/// The header with the number of times that the request was passed on.
const PASSES: &str = "polywire.declined.passes";

/// Replaces the decline headers; without `declines`, removes them. The message of the fault is cut
/// at [`History::ERROR_MAX`] bytes, since all headers have to fit into one frame.
pub(super) fn write(headers: &mut BTreeMap<ShortString, AMQPValue>, declines: Option<&Declines>) {
    for name in [BY, BECAUSE, PASSES] {
        headers.remove(name);
    }
    let Some(Declines { by, because, passes }) = declines else { return };
    let because = &because[..because.floor_char_boundary(History::ERROR_MAX)];
    headers.insert(BY.into(), AMQPValue::LongString(by.join(" ").into()));
    headers.insert(BECAUSE.into(), AMQPValue::LongString(because.into()));
    headers.insert(PASSES.into(), AMQPValue::LongLongInt((*passes).into()));
}

/// Reads the decline headers; `None` if no server has declined the request.
pub(super) fn read(headers: &FieldTable) -> Option<Declines> {
    let headers = headers.inner();
    let read = |name| text(headers.get(name)?)?.ok();
    let by = read(BY)?.split_whitespace().map(str::to_owned).collect();
    let passes = headers.get(PASSES).and_then(count).unwrap_or(0);
    Some(Declines { by, because: read(BECAUSE).unwrap_or_default(), passes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declines_read_as_they_were_written_with_a_cut_message() {
        let (by, because) = (vec!["a1".into(), "b2".into()], "ä".repeat(History::ERROR_MAX));
        let mut headers = BTreeMap::new();
        write(&mut headers, Some(&Declines { by: by.clone(), because, passes: 3 }));
        let read_back = read(&headers.clone().into()).unwrap();
        assert_eq!((read_back.by, read_back.passes), (by, 3));
        assert_eq!(read_back.because, "ä".repeat(History::ERROR_MAX / 2));
        write(&mut headers, None);
        assert_eq!(read(&headers.into()), None);
    }
}
