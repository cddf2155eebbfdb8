//! What the cases of a test binary came to.

use std::sync::{Mutex, PoisonError};

use crate::{Entry, Report};

/// The entries of all backends, in the order in which their cases ended.
#[derive(Default)]
pub(super) struct Collection(Mutex<Vec<(String, Entry)>>);

impl Collection {
    pub(super) fn add(&self, backend: &str, entry: Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((backend.to_owned(), entry));
    }

    /// Tells what a backend came to: its notes for people, and its report for whoever named a
    /// folder. `false` if the report cannot be written.
    pub(super) fn tell(&self, backend: &str) -> bool {
        let report = self.report(backend);
        for entry in &report.entries {
            entry.notes.iter().for_each(|note| println!("{backend}::{}: {note}", entry.case));
        }
        let Some(folder) = std::env::var_os("POLYWIRE_CONFORMANCE_REPORTS") else { return true };
        // One that has run no case was asked for something else, such as the list of cases.
        let written = if report.entries.is_empty() { Ok(()) } else { report.write(folder) };
        written
            .inspect_err(|error| eprintln!("the report of {backend} cannot be written: {error}"))
            .is_ok()
    }

    fn report(&self, backend: &str) -> Report {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.iter().filter(|(of, _)| of == backend);
        Report::new(backend, own.map(|(_, entry)| entry.clone()).collect())
    }
}
