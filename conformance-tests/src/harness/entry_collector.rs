//! The entries of the cases that a test binary ran.

use std::sync::{Mutex, PoisonError};

use crate::report::{Entry, Report};

/// The entries of all backends, in the order in which their cases ended.
///
/// Each entry has the name of its backend. Tests run on several threads, and add under the lock.
#[derive(Default)]
pub(super) struct EntryCollector(Mutex<Vec<(String, Entry)>>);

impl EntryCollector {
    /// Adds the entry of a case.
    pub(super) fn add(&self, backend: &str, entry: Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((backend.to_owned(), entry));
    }

    /// Prints the notes of a backend, and writes its report if the environment names a folder.
    /// Returns false if the report cannot be written.
    ///
    /// Called once for each backend, when all tests have ended.
    pub(super) fn report(&self, backend: &str) -> bool {
        let report = self.report_of(backend);
        for entry in &report.entries {
            entry.notes.iter().for_each(|note| println!("{backend}::{}: {note}", entry.case));
        }
        let Some(folder) = std::env::var_os("POLYWIRE_CONFORMANCE_REPORTS") else { return true };
        // A run without cases, such as one that only lists them, leaves an older report alone.
        let written = if report.entries.is_empty() { Ok(()) } else { report.write(folder) };
        written
            .inspect_err(|error| eprintln!("cannot write the report of {backend}: {error}"))
            .is_ok()
    }

    /// Returns the entries of one backend as a report, in the order of the suite.
    fn report_of(&self, backend: &str) -> Report {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.iter().filter(|(of, _)| of == backend);
        Report::new(backend, own.map(|(_, entry)| entry.clone()).collect())
    }
}
