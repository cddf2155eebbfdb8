//! Walks over the texts and tables of a frame, in place.

use std::ops::Range;

/// A position in the payload of a frame.
///
/// Each byte of a text that is not UTF-8 is replaced by `?`, so the frame keeps its length.
///
/// Each step checks the number of remaining bytes first, so no read goes beyond the slice. After an
/// error, the position is undefined; [`table`](Self::table) alone goes on behind the fault.
pub(super) struct Fields<'a> {
    bytes: &'a mut [u8],
    at: usize,
    /// Set once a byte was replaced.
    pub(super) is_replaced: bool,
}

/// A fault that cannot be mended in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A field reaches beyond the frame or its table.
    Truncated,
    /// The engine does not know the type of a value.
    UnknownType,
    /// Tables are nested beyond [`DEPTH_MAX`].
    TooDeep,
}

/// A header table.
pub(super) struct Table {
    /// The entries up to the first one that is malformed.
    pub(super) entries: Range<usize>,
    /// The fault of the entry after them.
    pub(super) malformed: Option<Malformed>,
}

impl<'a> Fields<'a> {
    /// Starts at the beginning of `bytes`.
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0, is_replaced: false }
    }

    /// Returns the position.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Skips a field of fixed size.
    pub(super) fn skip(&mut self, size: usize) -> Result<(), Malformed> {
        self.take(size, self.bytes.len()).map(drop)
    }

    /// Checks a short string.
    pub(super) fn text(&mut self) -> Result<(), Malformed> {
        self.text_before(self.bytes.len())
    }

    /// Checks a table, and moves behind it.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`] if the table reaches beyond the frame. A malformed entry is no
    /// error here.
    pub(super) fn table(&mut self) -> Result<Table, Malformed> {
        let end = self.section(self.bytes.len())?;
        let start = self.at;
        while self.at < end {
            let entry = self.at;
            if let Err(malformed) = self.entry(end, 0) {
                self.at = end;
                return Ok(Table { entries: start..entry, malformed: Some(malformed) });
            }
        }
        Ok(Table { entries: start..end, malformed: None })
    }

    /// Checks an entry of a table.
    ///
    /// The entry has to end before `end`. `depth` is the number of tables and arrays around it,
    /// without the outermost table.
    pub(super) fn entry(&mut self, end: usize, depth: usize) -> Result<(), Malformed> {
        self.text_before(end)?;
        self.value(end, depth)
    }

    /// Checks a value behind the letter of its type.
    ///
    /// RabbitMQ's [errata](https://www.rabbitmq.com/amqp-0-9-1-errata) to AMQP 0-9-1 list the
    /// letters of the types.
    fn value(&mut self, end: usize, depth: usize) -> Result<(), Malformed> {
        let letter = self.bytes[self.take(1, end)?];
        let size = match letter {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'S' | b'x' => {
                self.at = self.section(end)?;
                return Ok(());
            }
            b'A' | b'F' if depth == DEPTH_MAX => return Err(Malformed::TooDeep),
            b'A' | b'F' => {
                let end = self.section(end)?;
                while self.at < end {
                    if letter == b'A' {
                        self.value(end, depth + 1)?;
                    } else {
                        self.entry(end, depth + 1)?;
                    }
                }
                return Ok(());
            }
            _ => return Err(Malformed::UnknownType),
        };
        self.take(size, end).map(drop)
    }

    /// Checks a short string that has to end before `end`, and replaces bytes that are not UTF-8.
    fn text_before(&mut self, end: usize) -> Result<(), Malformed> {
        let length = usize::from(self.bytes[self.take(1, end)?]);
        let start = self.take(length, end)?;
        self.is_replaced |= make_utf8(&mut self.bytes[start..start + length]);
        Ok(())
    }

    /// Reads the length of a section, and returns its end.
    ///
    /// The position is behind the length then, and not behind the section.
    fn section(&mut self, end: usize) -> Result<usize, Malformed> {
        let start = self.take(4, end)?;
        let mut length = [0; 4];
        length.copy_from_slice(&self.bytes[start..start + 4]);
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > end - self.at {
            return Err(Malformed::Truncated);
        }
        Ok(self.at + length)
    }

    /// Moves over `size` bytes before `end`, and returns where they start.
    ///
    /// The position must not be behind `end`.
    fn take(&mut self, size: usize, end: usize) -> Result<usize, Malformed> {
        let start = self.at;
        if size > end - start {
            return Err(Malformed::Truncated);
        }
        self.at += size;
        Ok(start)
    }
}

/// Replaces each byte that is not UTF-8. Returns whether there was one.
fn make_utf8(text: &mut [u8]) -> bool {
    if text.is_ascii() {
        return false;
    }
    let mut is_replaced = false;
    while let Err(error) = std::str::from_utf8(text) {
        let start = error.valid_up_to();
        let end = error.error_len().map_or(text.len(), |length| start + length);
        text[start..end].fill(b'?');
        is_replaced = true;
    }
    is_replaced
}

/// Tables within tables that are accepted. The engine parses and drops them by recursion, so deeply
/// nested ones would overflow its stack. The broker's own records have a depth of 2.
const DEPTH_MAX: usize = 16;
