//! Servers of both systems on one queue.

use std::collections::BTreeMap;

use serde_json::json;

use crate::amqprpc_peer::LANGUAGES;
use crate::peer::Peer;
use crate::service::{client, connect, serve, wire};

pub(crate) async fn servers_of_both_share_a_queue(url: String) {
    let test = "servers_of_both_share_a_queue";
    for language in LANGUAGES {
        let service = format!("shared.{language}");
        let theirs = Peer::serve(test, &url, &service, "json", language).await;
        let Some(_theirs) = theirs else { return };
        let Some(mut their_client) = Peer::client(test, &url, "json", language).await else {
            return;
        };
        let amqp = connect(&url, wire("json")).await;
        let _ours = serve(&amqp, &service, wire("json")).await;
        let our_client = client(&amqp, &service, wire("json")).await;
        let calls: Vec<_> =
            (0..64).map(|_| our_client.request("Whoami").start::<String>(&()).unwrap()).collect();
        let mut names = Vec::new();
        for call in calls {
            names.push(call.await.unwrap());
        }
        let answers = their_client.calls(&service, "Peer.Whoami", &vec![json!(null); 64]).await;
        let theirs = answers.iter().map(|answer| answer["result"].as_str().unwrap().to_owned());
        for names in [names, theirs.collect()] {
            let mut counts = BTreeMap::new();
            names.iter().for_each(|name| *counts.entry(name.as_str()).or_insert(0) += 1);
            assert_eq!(counts.values().sum::<usize>(), 64);
            assert_eq!(counts.keys().collect::<Vec<_>>(), sorted(language), "{counts:?}");
        }
    }
}

/// Returns the names of both servers in their order.
fn sorted(language: &str) -> Vec<&&str> {
    match language {
        "go" => vec![&"go", &"polywire"],
        _ => vec![&"polywire", &"python"],
    }
}
