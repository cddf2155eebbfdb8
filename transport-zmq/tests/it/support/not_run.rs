//! Reports of tests that cannot run on this machine.

use std::fmt::Display;
use std::io::Write;

/// Reports the test as not run, with the reason, and returns from the test.
///
/// libtest counts such a test as passed. `cargo xtask test` lists the reports after its counts.
macro_rules! not_run {
    ($reason:expr) => {{
        fn here() {}
        $crate::support::not_run::report(std::any::type_name_of_val(&here), &$reason);
        return;
    }};
}

/// Writes the line `not run: NAME: REASON` to the standard error, past the capture of libtest. The
/// path is that of an item inside the test function.
pub(crate) fn report(path: &str, reason: &dyn Display) {
    let path = path.split_once("::").map_or(path, |(_, path)| path);
    let name = path.trim_end_matches("::here").trim_end_matches("::{{closure}}");
    let reason = reason.to_string();
    let reason = reason.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason");
    // A line that cannot be written is missed in the list of tests that were not run only.
    let _ = writeln!(std::io::stderr(), "not run: {name}: {}", reason.trim());
}
