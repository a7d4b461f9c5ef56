//! Everything that needs more than one room: real sockets, real processes, hostile peers, the house rules.

mod instance;
mod readme;
mod tidy;
