//! Counting by valgrind.
//!
//! Callgrind counts instructions, and memcheck counts allocations. Both print their figures to
//! standard error, where this module looks for them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// The costs of one call.
///
/// Fractions are cut off: each figure is a difference between two runs, divided by the calls
/// between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Instructions of the processor, as callgrind counts them.
    pub(super) instructions: u64,
    /// Allocations on the heap.
    pub(super) allocations: u64,
    /// Bytes of these allocations. Freed memory counts, too.
    pub(super) bytes: u64,
}

/// The numbers of calls of the two runs.
const FEW: u64 = 200;
/// Each figure is an average over the 1,000 calls by which the two runs differ.
const MANY: u64 = 1_200;

/// Counts all subjects, two at a time.
///
/// The result has the order of `subjects`. The first error in this order is returned, after all
/// subjects have ended.
///
/// A subject takes four runs of the program, one after the other.
///
/// # Errors
///
/// If valgrind cannot be started, if the program fails, or if a figure is missing in the output.
pub(super) fn count_all(program: &Path, subjects: &[&str]) -> Result<Vec<(String, Cost)>> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let worker = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(subject) = subjects.get(at) else { return };
            let cost = per_call(program, subject).map(|cost| ((*subject).to_owned(), cost));
            found.lock().unwrap_or_else(PoisonError::into_inner).insert(at, cost);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(worker);
        scope.spawn(worker);
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Returns the costs of many calls minus those of few, by call: the start and the end of the
/// program do not count.
///
/// A figure that is larger with few calls counts as 0.
fn per_call(program: &Path, subject: &str) -> Result<Cost> {
    let (few, many) = (count(program, subject, FEW)?, count(program, subject, MANY)?);
    let [instructions, allocations, bytes] =
        [0, 1, 2].map(|n| many[n].saturating_sub(few[n]) / (MANY - FEW));
    Ok(Cost { instructions, allocations, bytes })
}

/// Runs `calls` calls under callgrind for the instructions, and again under memcheck for the
/// allocations and their bytes.
///
/// Returns instructions, allocations and bytes of the whole program, in this order. The standard
/// output of the program is discarded.
fn count(program: &Path, subject: &str, calls: u64) -> Result<[u64; 3]> {
    let run = |tool: &[&str]| -> Result<String> {
        let mut command = Command::new("valgrind");
        let command = command.args(tool).arg(program).args([subject, &calls.to_string()]);
        let output = command.output().context("cannot run valgrind")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            bail!("cannot count {subject}: {text}");
        }
        Ok(text)
    };
    let callgrind = run(&["--tool=callgrind", "--callgrind-out-file=/dev/null"])?;
    let memcheck = run(&["--tool=memcheck"])?;
    Ok([
        number_after(&callgrind, "Collected :")?,
        number_after(&memcheck, "total heap usage:")?,
        number_after(&memcheck, "frees,")?,
    ])
}

/// Parses the number after a text, with or without commas in the number.
///
/// Reads the number behind the first occurrence of `text`.
fn number_after(output: &str, text: &str) -> Result<u64> {
    let (_, rest) = output
        .split_once(text)
        .with_context(|| format!("cannot find {text:?} in the output of valgrind: {output}"))?;
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(|c| *c != ',')
        .collect();
    Ok(digits.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_valgrind_have_commas() {
        let line = "total heap usage: 8,147 allocs, 8,138 frees, 1,107,224 bytes allocated";
        assert_eq!(number_after(line, "total heap usage:").unwrap(), 8_147);
        assert_eq!(number_after(line, "frees,").unwrap(), 1_107_224);
        assert!(number_after(line, "Collected :").is_err());
    }
}
