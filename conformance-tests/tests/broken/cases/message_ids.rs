//! Flaws of message ids.

use polywire_core::message::MessageId;

use crate::caught::caught;
use crate::flaws::messages::Alters;
use crate::flaws::settling::NewMessages;

caught! {
    lost_ids_of_calls: Alters(|message| message.message_id = None),
        "message_ids.id_of_a_call_reaches_its_handler", "and came as Some(\"call-";
    one_id_for_all_calls: Alters(|message| {
        message.message_id.get_or_insert_with(|| MessageId::new("the same").unwrap());
    }),
        "message_ids.id_of_a_call_reaches_its_handler", "different messages have one id";
    lost_ids_of_jobs: Alters(|message| message.message_id = None),
        "message_ids.id_of_a_job_arrives", "and came as None";
    lost_ids_of_events: Alters(|message| message.message_id = None),
        "message_ids.id_of_an_event_is_the_same_for_each_subscriber", "and came as None";
    new_ids_of_attempts: NewMessages,
        "message_ids.id_of_a_job_stays_through_its_attempts",
        "the id of the second attempt was \"order 7\", and came as Some(";
}
