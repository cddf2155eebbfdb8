//! A host name whose address changes while a client runs. The client runs in a mount namespace, so
//! that it has its own `/etc/hosts`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Router, Transport, Window};
use polywire_zmq::{Engine, Zmq};

use crate::support::engine::{ENGINE, zmq};
use crate::support::folder::TempFolder;
use crate::support::identified::IdentifiedServer;
use crate::support::wait::PATIENCE;

const NAME: &str = "moving.polywire.test";
/// The environment variable with the URL to call. If it is set, the test program is a client.
const URL: &str = "POLYWIRE_ZMQ_CALL";
/// The beginning of a line with the number of a server.
const REPLY: &str = "reply=";

/// Calls until the process is ended, and prints the number of the server whenever it changes. Does
/// nothing unless a test has started this process for it.
#[test]
fn call_in_a_separate_process() {
    let Ok(url) = std::env::var(URL) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let transport = Zmq::connect(&url).await.unwrap();
        let client = Client::connect(&transport, "a", MessagePack).timeout(PATIENCE).await.unwrap();
        let mut last = None;
        // If the parent has ended, printing fails and ends the process.
        loop {
            if let Ok(number) = client.request("id").idempotent().call::<u32>(&()).await
                && last.replace(number) != Some(number)
            {
                println!("{REPLY}{number}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// A client in a separate process, with its own file of host names.
struct ClientProcess {
    child: Child,
    replies: Receiver<u32>,
}

impl ClientProcess {
    fn start(hosts: &Path, url: &str) -> Self {
        let script = format!("mount --bind '{}' /etc/hosts && exec \"$@\"", hosts.display());
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut child = Command::new("unshare")
            .args(["-m", "sh", "-c", &script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::call_in_a_separate_process"), "--nocapture"])
            .env(URL, url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (sender, replies) = channel();
        std::thread::spawn(move || {
            let mut numbers = lines.filter_map(|line| line.split_once(REPLY)?.1.parse().ok());
            numbers.all(|number| sender.send(number).is_ok())
        });
        Self { child, replies }
    }

    /// Waits until another server replies, and returns its number.
    fn next(&self) -> u32 {
        tokio::task::block_in_place(|| self.replies.recv_timeout(PATIENCE))
            .expect("another server replies")
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sets the address of the name. The file is overwritten in place, since the mount is of the file
/// and not of its path.
fn set_address(hosts: &Path, address: &str) {
    std::fs::write(hosts, format!("{address} {NAME}\n")).unwrap();
}

fn has_namespaces() -> bool {
    let probe = "mount --bind /etc/hosts /etc/hosts";
    let probed =
        Command::new("unshare").args(["-m", "sh", "-c", probe]).stderr(Stdio::null()).status();
    probed.is_ok_and(|status| status.success())
}

async fn check_client_follows(engine: Engine) {
    let serve = |endpoint: String| zmq().engine(engine).bind(endpoint).build().unwrap();
    let before = serve("tcp://127.0.0.1:*".to_owned());
    let _before =
        IdentifiedServer::serve(&before, 1, Window::default(), Router::new(MessagePack)).await;
    let port = before.local_endpoints()[0].rsplit_once(':').unwrap().1.to_owned();
    let after = serve(format!("tcp://127.0.0.2:{port}"));
    let _after =
        IdentifiedServer::serve(&after, 2, Window::default(), Router::new(MessagePack)).await;

    let folder = TempFolder::new();
    let hosts = folder.file("hosts");
    set_address(&hosts, "127.0.0.1");
    let url = format!("zmq+tcp://{NAME}:{port}?engine={engine}");
    let client = ClientProcess::start(&hosts, &url);
    assert_eq!(client.next(), 1, "{engine:?}");
    set_address(&hosts, "127.0.0.2");
    // An open connection lasts until it is lost.
    before.close().await.unwrap();
    assert_eq!(client.next(), 2, "{engine:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_follows_a_name_to_another_address() {
    if !has_namespaces() {
        not_run!("no mount namespace can be made (needs root or CAP_SYS_ADMIN)");
    }
    check_client_follows(ENGINE).await;
}
