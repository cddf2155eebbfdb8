//! Servers of both systems on one queue.

use std::collections::BTreeMap;

use polywire_core::Client;
use polywire_dialects::Nameko;
use serde_json::{Value, json};

use crate::answered::answered;
use crate::peer::Peer;
use crate::service::{client, connect, serve};

pub(crate) async fn servers_of_both_share_a_queue(url: String) {
    let (test, service) = ("servers_of_both_share_a_queue", "shared_queue");
    let Some(_theirs) = Peer::serve(test, &url, service, "json").await else { return };
    let Some(mut their_client) = Peer::client(test, &url, "json").await else { return };
    let nameko = connect(&url).await;
    let _ours = serve(&nameko, service).await;
    let our_client = client(&nameko, service).await;
    let ours = ask_many(&our_client).await;
    let order = json!({ "service": service, "method": "whoami", "times": 64 });
    let answer = their_client.ask(order).await;
    let theirs = answer["results"].as_array().expect("a list of names");
    for names in [ours, theirs.iter().map(|name| name.as_str().unwrap().to_owned()).collect()] {
        let mut counts = BTreeMap::new();
        names.iter().for_each(|name| *counts.entry(name.as_str()).or_insert(0) += 1);
        assert_eq!(counts.values().sum::<usize>(), 64);
        assert_eq!(counts.keys().collect::<Vec<_>>(), [&"nameko", &"polywire"], "{counts:?}");
    }
}

/// Makes 64 calls at once, and returns the names of the servers.
async fn ask_many(client: &Client<Nameko>) -> Vec<String> {
    let calls: Vec<_> =
        (0..64).map(|_| client.request("whoami").start::<String>(&()).unwrap()).collect();
    let mut names = Vec::new();
    for call in calls {
        names.push(call.await.unwrap());
    }
    names
}

pub(crate) async fn dead_nameko_server(url: String) {
    let (test, service) = ("requests_of_a_dead_nameko_server_go_on", "shared_dead");
    let Some(mut theirs) = Peer::serve(test, &url, service, "json").await else { return };
    let nameko = connect(&url).await;
    let client = client(&nameko, service).await;
    assert_eq!(client.call::<String>("whoami", &()).await.unwrap(), "nameko");
    // It ends the process in the middle of the call, and so would each other server of nameko.
    let call = client.request("die").start::<Value>(&()).unwrap();
    theirs.ended().await;
    let ours = serve(&nameko, service).await;
    let fault = call.await.unwrap_err();
    assert!(fault.to_string().contains("no method die"), "{fault}");
    assert_eq!(client.call::<String>("whoami", &()).await.unwrap(), "polywire");
    answered(&ours, 2).await;
}
