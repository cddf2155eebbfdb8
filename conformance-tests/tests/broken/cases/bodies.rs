//! Flaws of bodies, of headers and of their formats.

use bytes::Bytes;
use polywire_core::Headers;

use crate::caught::caught;
use crate::flaws::capabilities::{BoundlessBodies, BoundlessHeaders};
use crate::flaws::messages::{
    Alters, AltersRequests, RepeatsRequests, bare_media_types, known_media_types, single_precision,
    text_only,
};

caught! {
    truncated_bodies: AltersRequests(|request| {
        let body = std::mem::take(&mut request.body).into_bytes();
        request.body = body.slice(..body.len().min(65_535)).into();
    }), "bodies.every_size_arrives", "came back with 65535 bytes";
    garbled_bodies: AltersRequests(|request| {
        let body = std::mem::take(&mut request.body).into_bytes();
        request.body = body.iter().map(|byte| byte & 0x7f).collect::<Bytes>().into();
    }), "bodies.every_size_arrives", "came back with other content";
    requests_without_bound: BoundlessBodies, "bodies.too_large_request_is_refused", "was not refused";
    replies_without_bound: BoundlessBodies,
        "bodies.too_large_reply_is_a_fault", "a reply over the limit is a fault: nothing came";
    lost_headers: AltersRequests(|request| request.headers = Headers::new()),
        "bodies.headers_and_names_survive", "the header \"tenant\" came back as None";
    headers_without_bound: BoundlessHeaders,
        "bodies.too_many_headers_are_refused", "headers over the limit were not refused";

    calls_as_text: Alters(text_only), "codecs.calls_cross_in_each_codec", "a call is answered: Fault";
    bodies_without_a_type: Alters(|message| message.content_type = None),
        "codecs.client_reads_the_formats_that_it_accepts", "a reply in the second format is read: Failed(Codec";
    jobs_as_text: Alters(text_only), "codecs.jobs_cross_in_each_codec", "a job can be read: Codec";
    events_as_text: Alters(text_only), "codecs.events_cross_in_each_codec", "an event can be read: Codec";
    replaced_media_types: AltersRequests(known_media_types),
        "codecs.parameters_of_a_media_type_do_not_count", "a request in application/json; charset=utf-8 was answered with Some";
    lost_charsets: AltersRequests(bare_media_types),
        "codecs.parameters_of_a_media_type_do_not_count", "another charset is answered with a fault: nothing came";
    numbers_of_calls_in_single_precision: AltersRequests(single_precision),
        "codecs.call_with_a_number_beyond_json_is_unsent", "the number 1e-1 came as 1.00000001";
    numbers_sent_twice: RepeatsRequests,
        "codecs.call_with_a_number_beyond_json_is_unsent", "the handler got the numbers [0.1, 0.1";
    numbers_of_jobs_in_single_precision: Alters(single_precision),
        "codecs.job_with_a_number_beyond_json_is_unsent", "the number 1e-1 came as 1.00000001";
    numbers_of_events_in_single_precision: Alters(single_precision),
        "codecs.event_with_a_number_beyond_json_is_unsent", "the number 1e-1 came as 1.00000001";
}
