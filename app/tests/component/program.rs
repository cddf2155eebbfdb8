//! The program of the child processes, and the parent's side of it.

use std::process::{ExitCode, Stdio, Termination};

use polywire::app::{App, BoxError, Component, Exit, shutdown_signal};
use polywire::{MessagePack, Router};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::shop::PATIENCE;

/// First argument of the program; the role follows.
const ARGUMENT: &str = "--program";

/// Runs the program if the arguments ask for it.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().filter(|first| first == ARGUMENT).and(arguments.next())?;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = App::from_env("sleeper", polywire::connect);
    let exit = match &*role {
        "sleeper" => runtime.block_on(app.run(sleeper)),
        "sleeper-in-setup" => runtime.block_on(app.run(sleeper_in_setup)),
        "two-endpoints" => runtime.block_on(app.run(two_endpoints)),
        "failing-task" => runtime.block_on(app.run(failing_task)),
        "without-app" => runtime.block_on(without_app()),
        "failing-setup" => runtime.block_on(app.run(|_| async { Err("no database".into()) })),
        role => panic!("there is no role {role}"),
    };
    Some(exit.report())
}

/// Serves `sleeper.nap`, which ends when standard input does.
async fn sleeper(app: Component) -> Result<(), BoxError> {
    let (release, released) = watch::channel(false);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        release.send_replace(true);
    });
    let router = Router::new(MessagePack).method("nap", move |(): ()| {
        let mut released = released.clone();
        async move {
            println!("begun");
            let _ = released.wait_for(|released| *released).await;
            Ok("rested")
        }
    });
    app.serve("sleeper", router).await?;
    let component = app.clone();
    app.spawn("watch", async move {
        component.stopping().await;
        println!("stopping");
        Ok(())
    });
    println!("bound");
    Ok(())
}

/// Serves as the sleeper does while its setup goes on.
async fn sleeper_in_setup(app: Component) -> Result<(), BoxError> {
    sleeper(app).await?;
    std::future::pending().await
}

/// Serves requests and jobs, which need a URL each over ZeroMQ.
async fn two_endpoints(app: Component) -> Result<(), BoxError> {
    app.serve("naps", Router::new(MessagePack)).await?;
    app.work("naps.eu", MessagePack, async |_: u32| Ok(())).await?;
    Ok(())
}

/// Waits for a signal.
async fn without_app() -> Exit {
    let bound = async {
        println!("bound");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // Polled first, so the process listens when it says so.
        biased;
        () = shutdown_signal() => {}
        () = bound => {}
    }
    Exit::Drained
}

async fn failing_task(app: Component) -> Result<(), BoxError> {
    app.spawn("importer", async { Err("no disk".into()) });
    Ok(())
}

/// A running child process. Dropping it kills the process.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts the program in a role, with these variables and no others of this crate.
    pub(crate) fn start(role: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("POLYWIRE_") {
                command.env_remove(name);
            }
        }
        command.args([ARGUMENT, role]).envs(variables.iter().copied()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { stdin: child.stdin.take(), child, lines }
    }

    /// Waits for a line of the program.
    pub(crate) async fn line(&mut self, expected: &str) {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line in time");
            match line.unwrap() {
                Some(line) if line == expected => return,
                Some(_) => {}
                None => panic!("the program ended without the line {expected}"),
            }
        }
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let process = self.child.id().unwrap().to_string();
        let kill =
            std::process::Command::new("kill").args([format!("-{signal}"), process]).status();
        assert!(kill.unwrap().success());
    }

    /// Ends the naps.
    pub(crate) fn release(&mut self) {
        self.stdin = None;
    }

    /// Returns whether the process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end, and returns the exit code and standard error.
    pub(crate) async fn exit(mut self) -> (i32, String) {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        timeout(PATIENCE, stderr.read_to_string(&mut text)).await.expect("an end").unwrap();
        let status = timeout(PATIENCE, self.child.wait()).await.expect("an end").unwrap();
        (status.code().expect("a code and no signal"), text)
    }
}
