//! Flaws of names of the greatest length.

use crate::caught::caught;
use crate::flaws::names::{CutsNames, EncodesNames};

caught! {
    services_with_cut_names: CutsNames,
        "long_names.services_and_methods_are_distinct", "was called, and";
    services_with_encoded_names: EncodesNames,
        "long_names.services_and_methods_are_distinct", "the encoded name is too long";
    queues_with_cut_names: CutsNames,
        "long_names.queues_are_distinct", "was due to its queue, and";
    channels_with_cut_names: CutsNames,
        "long_names.channels_topics_and_groups_are_distinct", "was due to get 1, and got 0";
}
