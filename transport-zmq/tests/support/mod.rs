//! A server in a process of its own, so that it can be killed, frozen and weighed.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Publisher, Router, Server, Transport};
use polywire_zmq::Zmq;

/// What makes a test binary serve, when it is in the environment: the URL to serve at.
const URL: &str = "POLYWIRE_ZMQ_SERVE";
const ENDPOINTS: &str = "endpoints=";

/// A process that serves `echo` and publishes on `news`, each at an endpoint of its own if the URL
/// says any port. It ends when it is dropped, and by itself when its parent does.
pub struct Process {
    child: Child,
    /// Where requests go, and where events come from.
    pub endpoints: Vec<String>,
    /// Held, for the test harness of the process ends it when it cannot print.
    _output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts one, and waits until it serves. A port that is still in use is tried for again.
    pub fn start(url: &str) -> Self {
        for _ in 0..100 {
            if let Some(process) = Self::try_start(url) {
                return process;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no server came up at {url}");
    }

    fn try_start(url: &str) -> Option<Self> {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serves_in_a_process_of_its_own", "--nocapture"])
            .env(URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let said = endpoints(&mut output);
        let Some(said) = said else {
            let _ = child.wait();
            return None;
        };
        Some(Self { child, endpoints: said, _output: output })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// As the kernel does to one that is out of memory.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent =
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Resident memory now and at its highest, in KiB.
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// The descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

/// What the process says when it serves; `None` if it ended before.
fn endpoints(output: &mut BufReader<ChildStdout>) -> Option<Vec<String>> {
    let mut lines = output.lines().map_while(Result::ok);
    lines.find_map(|line| {
        Some(line.split_once(ENDPOINTS)?.1.split(',').map(ToOwned::to_owned).collect())
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// To be called by a test named `serves_in_a_process_of_its_own`: serves, if this process was
/// started for it.
pub fn serve_if_told() {
    let Ok(url) = std::env::var(URL) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(serve(&url));
}

async fn serve(url: &str) {
    let transport = Zmq::connect(url).await.unwrap();
    let Ok(server) = Server::bind(&transport, "echo").await else { return };
    let router = Router::new(MessagePack)
        .method("echo", |(number,): (u64,)| async move { Ok(number) })
        .method("process", |(): ()| async move { Ok(std::process::id()) });
    tokio::spawn(server.serve(router));
    // With a port that is said, the server has it.
    let publisher = match url.contains(":*") && transport.capabilities().pubsub {
        true => Some(Publisher::connect(&transport, "news", MessagePack).await.unwrap()),
        false => None,
    };
    println!("{ENDPOINTS}{}", transport.local_endpoints().join(","));
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await
        .unwrap()
        .unwrap();
    drop(publisher);
    transport.close().await.unwrap();
}

pub async fn client(transport: &Zmq) -> Client<MessagePack> {
    Client::connect(transport, "echo", MessagePack).timeout(Duration::from_secs(10)).await.unwrap()
}

/// A generator of numbers that are the same each time.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One below this.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll() as u8).collect()
    }

    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}
