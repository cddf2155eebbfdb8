//! Flaws of names of the greatest length.

use crate::caught::caught;
use crate::flaws::names::{CutsNames, EncodesNames};

caught! {
    services_with_cut_names: CutsNames,
        "names.services_and_methods_may_have_long_names", "was called, and";
    services_with_encoded_names: EncodesNames,
        "names.services_and_methods_may_have_long_names", "the encoded name is too long";
    queues_with_cut_names: CutsNames,
        "names.queues_may_have_long_names", "was due to its queue, and";
    channels_with_cut_names: CutsNames,
        "names.channels_topics_and_groups_may_have_long_names", "was due to get 1, and got 0";
}
