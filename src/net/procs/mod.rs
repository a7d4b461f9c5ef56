//! What the system tells of other processes: who holds a port, and whether a process hangs.

pub(crate) mod obstacle;
pub(crate) mod port_holder;
pub(crate) mod sample;
