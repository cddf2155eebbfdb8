//! Several test programs at a time: most of them wait for brokers, peers and deadlines.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use super::job::Job;
use super::summary::{Outcome, Summary};

/// Runs all jobs, at most `at_a_time` at once. The output of each goes to a file in
/// `target/test-output`, and is printed if the job fails.
///
/// A job that fails ends no other job. A command that cannot be started is an error of the whole
/// run; the other workers finish the jobs that are left first. At least one job runs at a time.
pub(crate) fn run(
    shell: &Shell,
    mut jobs: Vec<Job>,
    at_a_time: usize,
    environment: &[(OsString, OsString)],
) -> Result<Summary> {
    jobs.sort_by_key(Job::order);
    let workspace = shell.current_dir();
    let output = workspace.join("target/test-output");
    fs::create_dir_all(&output)?;
    let library_path = cmd!(shell, "rustc --print target-libdir").read()?;
    let jobs = Mutex::new(VecDeque::from(jobs));
    let outcomes = Mutex::new(Vec::new());
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || -> Result<()> {
        while let Some(job) = next() {
            let log = output.join(format!("{}.log", job.name.replace(['/', ' '], "-")));
            let outcome = run_job(&job, &workspace, &library_path, &log, environment)?;
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            // One write, while no other worker writes.
            let _ = writeln!(std::io::stdout(), "{outcome}");
            outcomes.push(outcome);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked")))
        })
    })?;
    Ok(Summary::new(outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// Longest time that a job may take: more than twice what the longest one takes on two cores.
const LIMIT: Duration = Duration::from_secs(1_500);

/// Interval at which a running job is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Runs a job until its end, or until [`LIMIT`], when it is killed and counts as failed. Standard
/// output and standard error go to `log`, in the order in which they are written. The environment
/// of the job itself goes before that of all jobs.
fn run_job(
    job: &Job,
    workspace: &Path,
    library_path: &str,
    log: &Path,
    environment: &[(OsString, OsString)],
) -> Result<Outcome> {
    let start = Instant::now();
    let file = File::create(log)?;
    let mut command = job.command(workspace, library_path);
    command.envs(environment.iter().cloned());
    overlay(&mut command, job.environment());
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    // A group of its own, so that the programs that it has started are killed as well.
    let mut child =
        command.process_group(0).spawn().with_context(|| format!("cannot start {}", job.name))?;
    let mut guard = end_with_this(child.id())?;
    let status = wait_until(&mut child, start + LIMIT);
    // The guard has nothing to end any more. It may have ended by itself.
    let _ = guard.kill();
    guard.wait()?;
    let status = status?;
    let mut text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    if status.is_none() {
        text.push_str(&format!("\nkilled: it had not ended after {} s\n", LIMIT.as_secs()));
    }
    let is_ok = status.is_some_and(|status| status.success());
    Ok(Outcome::new(&job.name, start.elapsed(), is_ok, text))
}

/// Starts a process that kills a process group when this process ends, also by Ctrl-C: the group is
/// not the one of the terminal. The pipe to the guard ends with this process.
fn end_with_this(group: u32) -> Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", "read -r _; kill -s KILL -- \"-$0\"", &group.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.process_group(0).spawn()?)
}

/// Waits for a process that leads its process group. Kills the group at `end`, and returns `None`
/// then.
fn wait_until(child: &mut Child, end: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            // The group may end by itself just now.
            Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

/// Changes the environment of a command: sets the variables that have a value, and removes those
/// that have none, also from what the command inherits.
fn overlay(command: &mut Command, environment: &[(OsString, Option<OsString>)]) {
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::{BufRead, BufReader, Read};

    use super::*;

    /// A shell that waits for a sleeping program: both are killed.
    #[test]
    fn program_that_does_not_end_is_killed_with_its_children() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]).process_group(0);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        // The sleeping program runs.
        output.read_line(&mut String::new()).unwrap();
        assert!(wait_until(&mut child, Instant::now()).unwrap().is_none());
        // The pipe ends when the last program that holds it has ended.
        output.read_to_string(&mut String::new()).unwrap();
    }

    #[test]
    fn guard_kills_a_group_when_its_pipe_ends() {
        let mut child = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let mut guard = end_with_this(child.id()).unwrap();
        drop(guard.stdin.take());
        assert!(!child.wait().unwrap().success());
        guard.wait().unwrap();
    }

    #[test]
    fn program_that_ends_in_time_has_its_status() {
        let mut child = Command::new("false").process_group(0).spawn().unwrap();
        let status = wait_until(&mut child, Instant::now() + LIMIT).unwrap();
        assert_eq!(status.and_then(|status| status.code()), Some(1));
    }

    /// As when the suite runs on the version of the machine as well, and all jobs on another one.
    #[test]
    fn job_can_do_without_a_variable_of_all_jobs() {
        let mut command = Command::new("suite");
        command.envs([("ROOT", "/brokers/4.3"), ("REPORTS", "a"), ("URL", "amqp://b")]);
        overlay(&mut command, &[("ROOT".into(), None), ("REPORTS".into(), Some("c".into()))]);
        let environment: Vec<_> = command.get_envs().collect();
        let [reports, root, url] = ["REPORTS", "ROOT", "URL"].map(OsStr::new);
        let [c, b] = ["c", "amqp://b"].map(OsStr::new);
        assert_eq!(environment, [(reports, Some(c)), (root, None), (url, Some(b))]);
    }
}
