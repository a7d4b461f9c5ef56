//! The label of a process that sets none.

use crate::config::masterless::Config;
use crate::net::procs;
use crate::wire::Label;

pub(super) fn of(config: &Config) -> Label {
    config.label.as_deref().map_or_else(|| default_label(&procs::program()), Label::new)
}

/// Returns the label of a process that sets none: the name of this machine up to its first dot, and
/// `program`, as in `worker-1/scheduler`.
///
/// If both do not fit into a label, the program's name is cut first, to no less than 8 bytes.
#[must_use]
pub fn default_label(program: &str) -> Label {
    Label::of(&rustix::system::uname().nodename().to_string_lossy(), program)
}
