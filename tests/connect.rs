//! `polywire::connect` with valid and invalid URLs, under any set of features.

use polywire::{ErrorKind, connect};

#[tokio::test]
async fn urls_that_name_nothing_known_say_so() {
    for url in
        ["", "localhost", "amqp:localhost", "http://localhost", "mem://", "carrier pigeon://roof\n"]
    {
        let error = connect(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{url:?}: {error:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn memory_is_always_there() {
    connect("mem://somewhere").await.unwrap();
}

#[cfg(not(feature = "amqp"))]
#[tokio::test]
async fn rabbitmq_without_its_feature_names_it() {
    for url in ["amqp://user:hunter2@localhost", "amqps://user:hunter2@localhost"] {
        let error = connect(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.detail("feature"), Some("amqp"));
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[cfg(not(feature = "zmq"))]
#[tokio::test]
async fn zeromq_without_its_feature_names_it() {
    for url in ["zmq+tcp://127.0.0.1:5555", "zmq+ipc:///tmp/x.sock"] {
        let error = connect(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.detail("feature"), Some("zmq"));
    }
}

#[cfg(all(feature = "zmq", not(feature = "zmq-curve")))]
#[tokio::test]
async fn curve_without_its_feature_names_it() {
    for options in ["curve_server_key=file:/x&curve_allow=any", "curve_server_public=file:/x"] {
        let error = connect(&format!("zmq+tcp://a:1?{options}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("`zmq-curve`"), "{error}");
    }
}

#[cfg(feature = "zmq")]
#[tokio::test]
async fn malformed_endpoints_are_named() {
    for url in [
        "zmq+tcp://",
        "zmq+tcp://127.0.0.1",
        "zmq+tcp://127.0.0.1:port",
        "zmq+tcp://127.0.0.1:1?side=left",
    ] {
        let error = connect(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{url}: {error:?}");
    }
}

#[cfg(feature = "amqp")]
#[tokio::test]
async fn unreachable_broker_is_named_and_its_password_is_not() {
    let error = connect("amqp://user:hunter2@127.0.0.1:1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert_eq!((error.detail("host"), error.detail("port")), (Some("127.0.0.1"), Some("1")));
    assert!(!format!("{error:?} {error}").contains("hunter2"));
}
