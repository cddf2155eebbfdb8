//! The books of the shop, as their files have them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// The entries of a book.
///
/// A line of the file is one entry: a JSON array of the order's number and a value. The value is
/// the amount in cents, or an object with `cents`.
#[derive(Default)]
pub(crate) struct Ledger {
    /// The amounts by the numbers of the orders.
    pub(crate) amounts: BTreeMap<u64, u64>,
    /// All entries, repeated ones included.
    pub(crate) entries: Vec<u64>,
}

impl Ledger {
    /// Reads a book. A file that does not exist is an empty book.
    pub(crate) fn read(books: &Path, name: &str) -> Result<Self> {
        let path = books.join(name);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(path).context("cannot read a book")?;
        let mut ledger = Self::default();
        // An entry without its end is being written.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let (number, entry): (u64, Value) = serde_json::from_str(line)?;
            let cents = entry.as_u64().or_else(|| entry["cents"].as_u64());
            ledger.amounts.insert(number, cents.context("the amount of an entry")?);
            ledger.entries.push(number);
        }
        Ok(ledger)
    }

    /// Returns the number of entries in a book.
    ///
    /// A file that does not exist has none. An entry that is being written does not count.
    pub(crate) fn count(books: &Path, name: &str) -> usize {
        let text = std::fs::read(books.join(name)).unwrap_or_default();
        text.into_iter().filter(|byte| *byte == b'\n').count()
    }

    /// Returns the number of entries beyond the first of an order.
    pub(crate) fn repeated(&self) -> usize {
        self.entries.len() - self.amounts.len()
    }
}
