//! The simulator of routed services: real machines of routers, agents and the group, in a world of
//! kernels that route, of hosts that fail, and of clients that count every reset.

mod chaos;
mod clients;
mod deeds;
mod kernel;
mod links;
mod packets;
mod processes;
mod scenes;
mod shares;
mod world;

pub(in crate::state::route) use chaos::owned_elsewhere;
