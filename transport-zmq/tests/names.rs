//! A name whose address changes while its callers run. It takes a mount namespace, to have an
//! `/etc/hosts` of its own.

#![cfg(all(target_os = "linux", any(feature = "engine-omq", feature = "engine-zeromq")))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is a failure")]

#[path = "support/who.rs"]
mod who;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Router, Transport, Window};
use polywire_zmq::{Engine, Zmq};

use self::who::Who;

const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "moving.polywire.test";
/// What makes this binary call, when it is in the environment: the URL to call at.
const URL: &str = "POLYWIRE_ZMQ_CALL";
const ANSWER: &str = "answer=";

/// Tells whoever answers, each time that it is another one, until it is ended.
#[test]
fn calls_in_a_process_of_its_own() {
    let Ok(url) = std::env::var(URL) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let transport = Zmq::connect(&url).await.unwrap();
        let client = Client::connect(&transport, "a", MessagePack).timeout(PATIENCE).await.unwrap();
        let mut last = None;
        // A parent that is gone reads no more, and printing ends the process.
        loop {
            if let Ok(name) = client.request("who").idempotent().call::<u32>(&()).await
                && last.replace(name) != Some(name)
            {
                println!("{ANSWER}{name}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// A caller that looks names up in this file.
struct Caller {
    child: Child,
    answers: Receiver<u32>,
}

impl Caller {
    fn start(hosts: &Path, url: &str) -> Self {
        let script = format!("mount --bind '{}' /etc/hosts && exec \"$@\"", hosts.display());
        let mut child = Command::new("unshare")
            .args(["-m", "sh", "-c", &script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "calls_in_a_process_of_its_own", "--nocapture"])
            .env(URL, url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            let mut names = lines.filter_map(|line| line.split_once(ANSWER)?.1.parse().ok());
            names.all(|name| tell.send(name).is_ok())
        });
        Self { child, answers }
    }

    /// Who has answered next, who had not before.
    fn next(&self) -> u32 {
        tokio::task::block_in_place(|| self.answers.recv_timeout(PATIENCE))
            .expect("somebody else answers")
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that says where the name is, which goes with this value.
struct Hosts(PathBuf);

impl Hosts {
    fn new(engine: Engine) -> Self {
        let name = format!("polywire-hosts-{}-{engine:?}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Written in place, because what is mounted is the file, and not its name.
    fn point_to(&self, address: &str) {
        std::fs::write(&self.0, format!("{address} {NAME}\n")).unwrap();
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn has_namespaces() -> bool {
    let probe = "mount --bind /etc/hosts /etc/hosts";
    let probed =
        Command::new("unshare").args(["-m", "sh", "-c", probe]).stderr(Stdio::null()).status();
    probed.is_ok_and(|status| status.success())
}

async fn follow(engine: Engine) {
    let serve = |endpoint: String| Zmq::builder().engine(engine).bind(endpoint).build().unwrap();
    let before = serve("tcp://127.0.0.1:*".to_owned());
    let _before = Who::serve(&before, 1, Window::default(), Router::new(MessagePack)).await;
    let port = before.local_endpoints()[0].rsplit_once(':').unwrap().1.to_owned();
    let after = serve(format!("tcp://127.0.0.2:{port}"));
    let _after = Who::serve(&after, 2, Window::default(), Router::new(MessagePack)).await;

    let hosts = Hosts::new(engine);
    hosts.point_to("127.0.0.1");
    let name = format!("{engine:?}").to_lowercase();
    let caller = Caller::start(&hosts.0, &format!("zmq+tcp://{NAME}:{port}?engine={name}"));
    assert_eq!(caller.next(), 1, "{engine:?}");
    hosts.point_to("127.0.0.2");
    // What is connected stays so until it is lost.
    before.close().await.unwrap();
    assert_eq!(caller.next(), 2, "{engine:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_follow_a_name_to_another_address() {
    if !has_namespaces() {
        eprintln!("SKIPPED: it takes the right to make a mount namespace (root, or CAP_SYS_ADMIN)");
        return;
    }
    #[cfg(feature = "engine-omq")]
    follow(Engine::Omq).await;
    #[cfg(feature = "engine-zeromq")]
    follow(Engine::Zeromq).await;
}
