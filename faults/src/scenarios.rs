//! The scenarios, one file each.
//!
//! Each file states the sizes and the times of its load. Beside the invariants of the crate, each
//! scenario proves one claim:
//!
//! | | file | claim |
//! |---|---|---|
//! | A | `broker_kills` | calls end in time, and a deduplicating server runs each call once |
//! | B | `server_kills` | each call is answered |
//! | C | `links` | traffic flows again after each fault of each handle; black holes are noticed |
//! | D | `failovers` | calls, jobs and events of a group flow beside a dead node |
//! | E | `alarm` | calls end by their deadlines, and settling and closing go on |
//! | F | `job_restarts` | each job is acknowledged in the end, and done |
//! | G | `certificates` | an invalid certificate is refused, with its reason |
//! | H | `credentials` | a denied transport stops its logins, and a provider is asked again |
//! | I | `reply_queue` | the calls of a deleted reply queue fail at once, and no others |
//! | J | `soak` | the memory of each process stays flat |
//! | K | `redelivery` | no call that runs at most once is begun twice; callers learn of deaths |
//! | L | `poison` | each poison job becomes a dead letter, and no other job does |
//! | M | `shop` | each answered order is charged once, invoiced and mailed |
//! | N | `delayed_retries` | no job gets lost in a retry queue that is always in use |
//! | O | `partitions` | traffic flows beside a paused minority, and again after each cut |
//! | P | `troubles` | the log names the cause of each trouble of a shop, and probes turn in time |

pub(crate) mod alarm;
pub(crate) mod broker_kills;
pub(crate) mod certificates;
pub(crate) mod credentials;
pub(crate) mod delayed_retries;
pub(crate) mod failovers;
pub(crate) mod job_restarts;
pub(crate) mod links;
pub(crate) mod partitions;
pub(crate) mod poison;
pub(crate) mod redelivery;
pub(crate) mod reply_queue;
pub(crate) mod server_kills;
pub(crate) mod shop;
pub(crate) mod soak;
pub(crate) mod troubles;
