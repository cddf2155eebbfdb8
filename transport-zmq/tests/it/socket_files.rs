//! Socket files of other processes: only a refused connection proves that no process listens there.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use polywire_core::{Error, ErrorKind, Server};
use polywire_zmq::Engine;
use tokio::net::{UnixSocket, UnixStream};

use crate::support::engine::{ENGINE, zmq};
use crate::support::folder::TempFolder;

/// The engine of this program.
fn engines() -> [Engine; 1] {
    [ENGINE]
}

/// Binds a server at a socket file, which must fail. Returns the error.
async fn refused_at(engine: Engine, path: &str) -> Error {
    let transport = zmq().engine(engine).bind(format!("ipc://{path}")).build().unwrap();
    let bound = Server::bind(&transport, "a").await;
    bound.expect_err("another process has the endpoint")
}

fn inode(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).expect("the file is there").ino()
}

#[tokio::test]
async fn live_server_that_cannot_be_connected_to_keeps_its_socket_file() {
    let folder = TempFolder::new();
    for engine in engines() {
        // A server whose backlog is full: a connection attempt fails, but is not refused.
        let busy = folder.file(&format!("busy-{engine}"));
        let socket = UnixSocket::new_stream().unwrap();
        socket.bind(&busy).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = UnixStream::connect(&busy).await {
            waiting.push(stream);
        }
        let before = inode(&busy);
        let error = refused_at(engine, busy.to_str().unwrap()).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{engine}: {error}");
        assert_eq!(inode(&busy), before, "{engine}");
        drop((waiting, listener));

        // A socket of another type.
        let datagrams = folder.file(&format!("datagrams-{engine}"));
        let _socket = UnixDatagram::bind(&datagrams).unwrap();
        let before = inode(&datagrams);
        let error = refused_at(engine, datagrams.to_str().unwrap()).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{engine}: {error}");
        assert_eq!(inode(&datagrams), before, "{engine}");

        // A file that is no socket.
        let file = folder.file(&format!("file-{engine}"));
        std::fs::write(&file, "kept").unwrap();
        let error = refused_at(engine, file.to_str().unwrap()).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{engine}: {error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept", "{engine}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn abstract_name_of_a_live_server_is_refused() {
    for engine in engines() {
        let name = format!("polywire-names-{}-{engine}", std::process::id());
        let transport = zmq().engine(engine).bind(format!("ipc://@{name}")).build().unwrap();
        let _server = Server::bind(&transport, "a").await.unwrap();
        let error = refused_at(engine, &format!("@{name}")).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{engine}: {error}");
    }
}

#[tokio::test]
async fn socket_file_of_a_dead_server_is_replaced() {
    let folder = TempFolder::new();
    for engine in engines() {
        let path = folder.file(&format!("dead-{engine}"));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let transport = zmq().bind(format!("ipc://{}", path.display())).build().unwrap();
        Server::bind(&transport, "a").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_two_servers_gets_the_socket_file_of_a_dead_one_and_keeps_it() {
    let folder = TempFolder::new();
    for engine in engines() {
        for round in 0..40 {
            let path = folder.file(&format!("raced-{engine}-{round}"));
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let bind = || {
                let transport = zmq().engine(engine).bind(format!("ipc://{}", path.display()));
                tokio::spawn(async move {
                    let transport = transport.build().unwrap();
                    Server::bind(&transport, "a").await.map(|server| (transport, server))
                })
            };
            let (first, second) = tokio::join!(bind(), bind());
            let outcomes = [first.unwrap(), second.unwrap()];
            let bound = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            assert_eq!(bound, 1, "{engine}, round {round}");
            let refused = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
            assert_eq!(refused.map(Error::kind), Some(ErrorKind::Config), "{engine}");
            UnixStream::connect(&path).await.expect("the server listens on its file");
        }
    }
}
