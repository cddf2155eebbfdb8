//! Processor time and memory of processes, as Linux reports them in proc(5).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// Returns the processor time of a process, summed over its threads.
///
/// The scheduler counts in nanoseconds (`schedstat`), and updates the time of a running thread at
/// each tick. The time of a thread that has ended is not counted, so a later sum may be smaller.
///
/// # Errors
///
/// If the process has ended, or the kernel has no `schedstat`.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let threads = std::fs::read_dir(folder(process).join("task"))
        .with_context(|| format!("cannot read the processor time: no process {process}"))?;
    let times = threads.flatten().filter_map(|thread| on_processor(&thread.path()));
    let all = times.reduce(|all, time| all + time);
    let all = all.with_context(|| format!("no processor time of process {process}: schedstat"))?;
    Ok(Duration::from_nanos(all))
}

/// Returns the time that a thread has run, in nanoseconds; `None` if it has ended meanwhile.
///
/// The first number of `schedstat` is that time.
fn on_processor(thread: &Path) -> Option<u64> {
    let times = std::fs::read_to_string(thread.join("schedstat")).ok()?;
    times.split_whitespace().next()?.parse().ok()
}

/// Returns the memory that a process has resident, in bytes.
///
/// Pages that are shared with other processes count in full.
///
/// # Errors
///
/// As for [`peak_memory`].
pub(crate) fn memory(process: u32) -> Result<u64> {
    status(process, "VmRSS:")
}

/// Returns the most memory that a process had resident, in bytes.
///
/// The kernel keeps this mark from the start of the process on.
///
/// # Errors
///
/// If the process has ended.
pub(crate) fn peak_memory(process: u32) -> Result<u64> {
    status(process, "VmHWM:")
}

/// Reads a line of `status`, whose unit is KiB, and returns bytes.
fn status(process: u32, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(folder(process).join("status"))
        .with_context(|| format!("cannot read the memory: no process {process}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.with_context(|| format!("process {process} has no {name}"))?.parse()?;
    Ok(kib * 1024)
}

/// Returns the folder of a process below `/proc`.
fn folder(process: u32) -> PathBuf {
    Path::new("/proc").join(process.to_string())
}
