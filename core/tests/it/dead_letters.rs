//! Redrive and deletion of dead letters over the in-memory transport.

use polywire_codec::MessagePack;
use polywire_core::pipeline::DeadLetter;
use polywire_core::{DeadLetters, ErrorKind, Memory, Puller, Pusher};

async fn push(memory: &Memory, job: u32) {
    Pusher::connect(memory, "jobs", MessagePack).await.unwrap().push(&job).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn chosen_dead_letters_are_redriven_and_the_others_keep_their_order() {
    let memory = Memory::new();
    let mut jobs: Puller<u32> = Puller::bind(&memory, "jobs", MessagePack).await.unwrap();
    for n in 0..4 {
        push(&memory, n).await;
        jobs.next().await.unwrap().unwrap().dead_letter(format!("number {n}")).unwrap();
    }
    let dead = DeadLetters::of_queue(&memory, "jobs").unwrap();
    let odd = |dead_letter: &DeadLetter| dead_letter.read::<u32>(&MessagePack).unwrap() % 2 == 1;
    assert_eq!(dead.redrive(3, odd).await.unwrap(), 1);
    let again = jobs.next().await.unwrap().unwrap();
    assert_eq!((*again, again.context().attempt, again.context().redriven()), (1, 1, 1));
    again.dead_letter("").unwrap();
    let numbers = |dead_letters: Vec<DeadLetter>| -> Vec<u32> {
        dead_letters.iter().map(|dead_letter| dead_letter.read(&MessagePack).unwrap()).collect()
    };
    let dead_letters = dead.look(9).await.unwrap();
    assert_eq!((dead_letters[3].redriven(), dead_letters[3].first_error()), (1, Some("number 1")));
    assert_eq!(numbers(dead_letters), [0, 2, 3, 1]);
    assert_eq!(dead.discard(9, |dead_letter| !odd(dead_letter)).await.unwrap(), 2);
    assert_eq!(numbers(dead.look(9).await.unwrap()), [3, 1]);
}

#[tokio::test(start_paused = true)]
async fn redrive_into_a_full_queue_times_out_and_loses_nothing() {
    let memory = Memory::new();
    let mut jobs: Puller<u32> = Puller::bind(&memory, "jobs", MessagePack).await.unwrap();
    push(&memory, 0).await;
    jobs.next().await.unwrap().unwrap().dead_letter("full").unwrap();
    drop(jobs);
    for n in 0..1024 {
        push(&memory, n).await;
    }
    let dead = DeadLetters::of_queue(&memory, "jobs").unwrap();
    let error = dead.redrive(9, |_| true).await.unwrap_err();
    assert_eq!((error.kind(), error.detail("redriven")), (ErrorKind::DeadlineExceeded, Some("0")));
    assert_eq!(dead.look(9).await.unwrap().len(), 1);
}
