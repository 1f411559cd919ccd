//! What an idle replica takes. Sizes are exact: whoever makes one larger sees it here.

use crate::raft::group::Group;
use crate::raft::log::Log;
use crate::raft::message::Message;
use crate::raft::progress::Progress;
use crate::raft::remembered::Remembered;
use crate::raft::roles::Leading;
use crate::raft::{Input, Output, Write};

#[test]
fn what_a_replica_consists_of_stays_small() {
    let sizes = [
        ("a replica", size_of::<Group>(), 624),
        ("of it, its log", size_of::<Log>(), 208),
        ("what a leader keeps", size_of::<Leading>(), 112),
        ("and of each member", size_of::<Progress>(), 128),
        ("what is known of each other one", size_of::<Remembered>(), 80),
        ("a message", size_of::<Message>(), 208),
        ("an output", size_of::<Output>(), 112),
        ("of it, a write", size_of::<Write>(), 96),
        ("an input", size_of::<Input>(), 112),
    ];
    for (what, bytes, most) in sizes {
        assert!(bytes <= most, "{what} takes {bytes} bytes, more than {most}");
    }
}
