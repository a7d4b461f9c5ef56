//! The simulator of routed services: real machines of routers, agents and the group, in a world of
//! kernels that route, of hosts that fail, and of clients that count every reset.

mod chaos;
mod kernel;
mod scenes;
mod world;
