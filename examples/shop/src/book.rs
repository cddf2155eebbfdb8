//! A book: entries under the numbers of their orders, in memory or in a file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use polywire::{Code, Fault};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contracts::{Report, Tally};
use crate::lock;

/// The variable that names the folder of the books. Without it, books are in memory.
pub const FOLDER_VARIABLE: &str = "SHOP_BOOKS";

/// Entries under the numbers of their orders. A number is entered once.
///
/// A book in a file outlives its process, and several processes may share it: a lock on the file
/// takes them in turn. A real program has a database in its place.
pub(crate) struct Book<E>(Mutex<Pages<E>>);

struct Pages<E> {
    file: Option<File>,
    entries: HashMap<u64, E>,
    /// The repetitions in this process.
    repeated: u64,
}

impl<E: Clone + Serialize + DeserializeOwned> Book<E> {
    /// Creates an empty book in memory.
    pub(crate) fn in_memory() -> Self {
        Self(Mutex::new(Pages { file: None, entries: HashMap::new(), repeated: 0 }))
    }

    /// Opens the book `name` in the folder that [`FOLDER_VARIABLE`] names, or an empty one in
    /// memory.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened or read.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let book = Self::in_memory();
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
            let path = PathBuf::from(folder).join(name);
            let file = File::options().read(true).append(true).create(true).open(path)?;
            lock(&book.0).file = Some(file);
        }
        Ok(book)
    }

    /// Enters what `make` returns, which sees all entries. If the number was entered before,
    /// returns the earlier entry, and nothing changes.
    ///
    /// # Errors
    ///
    /// Those of `make`, and a fault if the file fails.
    pub(crate) fn enter<F: From<io::Error>>(
        &self,
        number: u64,
        make: impl FnOnce(&HashMap<u64, E>) -> Result<E, F>,
    ) -> Result<Entered<E>, F> {
        let mut pages = lock(&self.0);
        pages.locked(|pages| {
            if let Some(earlier) = pages.entries.get(&number).cloned() {
                pages.repeated += 1;
                return Ok(Entered::Before(earlier));
            }
            let entry = make(&pages.entries)?;
            pages.write(number, &entry)?;
            pages.entries.insert(number, entry);
            Ok(Entered::Now)
        })
    }

    /// Returns whether the number was entered.
    ///
    /// # Errors
    ///
    /// If the file fails.
    pub(crate) fn contains(&self, number: u64) -> io::Result<bool> {
        lock(&self.0).locked(|pages| Ok(pages.entries.contains_key(&number)))
    }

    /// Returns the count and the sum of all entries, where `cents` returns the amount of an entry.
    ///
    /// # Errors
    ///
    /// A fault if the file fails.
    pub(crate) fn tally(&self, cents: impl Fn(&E) -> u64) -> Result<Tally, Fault> {
        let tally = lock(&self.0).locked(|pages| {
            let (orders, repeated) = (pages.entries.len() as u64, pages.repeated);
            Ok(Tally { orders, cents: pages.entries.values().map(cents).sum(), repeated })
        });
        tally.map_err(failed)
    }
}

/// Outcome of an entry.
pub(crate) enum Entered<E> {
    /// The number is entered.
    Now,
    /// The number was entered before.
    Before(E),
}

impl<E: Serialize + DeserializeOwned> Pages<E> {
    /// Runs `act` while no other process changes the book, with all entries of the others.
    fn locked<T, F: From<io::Error>>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, F>,
    ) -> Result<T, F> {
        if let Some(file) = &self.file {
            file.lock()?;
        }
        let acted = self.read().map_err(F::from).and_then(|()| act(self));
        if let Some(file) = &self.file {
            file.unlock()?;
        }
        acted
    }

    /// Reads the entries since the last time.
    fn read(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        for line in text.split_inclusive('\n') {
            if !line.ends_with('\n') {
                // A process was killed in the middle of this line: no reply reports the entry.
                let whole = file.stream_position()? - line.len() as u64;
                file.set_len(whole)?;
                file.seek(SeekFrom::Start(whole))?;
                break;
            }
            let (number, entry) = serde_json::from_str(line)?;
            self.entries.insert(number, entry);
        }
        Ok(())
    }

    fn write(&mut self, number: u64, entry: &E) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        // Writing moves the position to the end, past what is read.
        file.write_all(format!("{}\n", serde_json::to_string(&(number, entry))?).as_bytes())
    }
}

/// Books of amounts report what they have.
impl Report for std::sync::Arc<Book<u64>> {
    async fn tally(&self) -> Result<Tally, Fault> {
        Book::tally(self, |cents| *cents)
    }
}

/// Returns the fault of a book whose file fails.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn failed(error: io::Error) -> Fault {
    Fault::new(Code::Unavailable, format!("cannot use the book: {error}"))
}
