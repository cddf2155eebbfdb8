//! Thread states of a process, as
//! [`/proc`](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html) has them.

use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

/// The bound of a stop, which takes microseconds on an idle machine.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Waits until all threads of a process are stopped, after SIGSTOP was sent to it.
///
/// Sending the signal does not wait for its effect: a thread on another core may answer once more.
///
/// # Errors
///
/// If there is no such process, or a thread still runs after ten seconds.
pub(crate) fn wait_until_stopped(process: u32) -> io::Result<()> {
    let start = Instant::now();
    while !are_all_stopped(process)? {
        if start.elapsed() >= STOP_MAX {
            return Err(io::Error::other(format!("process {process} did not stop")));
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn are_all_stopped(process: u32) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = match fs::read_to_string(thread?.path().join("stat")) {
            Ok(stat) => stat,
            // The thread has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // The state follows the name, which is in parentheses and may contain any character.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if state != Some('T') {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn running_process_is_not_stopped() {
        assert!(!are_all_stopped(std::process::id()).unwrap());
    }

    #[test]
    fn stopped_process_is_waited_for() {
        let mut process = Command::new("sleep").arg("60").spawn().unwrap();
        let id = process.id();
        let sent = Command::new("kill").args(["-STOP", &id.to_string()]).status().unwrap();
        assert!(sent.success());
        wait_until_stopped(id).unwrap();
        assert!(are_all_stopped(id).unwrap());
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(wait_until_stopped(id).is_err());
    }
}
