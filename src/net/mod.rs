//! Deeds: the only room with `std::net` and `std::thread`. Every function short; no decision.
//!
//! | thread | started by | waits on | stopped by | joined by |
//! |---|---|---|---|---|
//! | `pares-role` | `Instance::join` | the lifeline; the supervisor port; the bell between attempts | `Standing::halt` | dropping the `Instance` |
//! | `pares-endpoint` | `Instance::join` | the admin endpoint's listener | its waker | dropping the `Instance` |
//! | `pares-admin` | `pares-endpoint`, one for each caller | its caller; runs the program's functions | `Service::close` | dropping the `Instance` |
//! | `pares-member` | `pares-role` while supervisor, one for each subordinate | its lifeline | `Service::close` | `pares-role`, when the role ends |
//! | `pares-announce` | `pares-role` while supervisor | news, room in the kernel, the settle time | `Office::close` | `pares-role`, when the role ends |
//! | `pares-registry` | `pares-role` while supervisor; and one for each asker | the registry port's listener; its asker | `Office::close`, `Service::close` | `pares-role`, when the role ends |
//! | `pares-room` | `pares-role`, now and then | the kernel, some ten milliseconds | its end | `pares-role` |
//! | `pares-flush` | whoever says more than the lifeline takes, seldom | room on the lifeline | its end, or that of the lifeline | `pares-role`, when the instance leaves |
//! | `pares-watch` | `Registry::watch` | the registry port; the bell without a supervisor | dropping the `Watch` | dropping the `Watch` |
//! | `pares-peer` | `Peer::join` | the socket; the program; the end of other processes; the next heartbeat | leaving, or dropping the `Peer` | both |
//! | `pares-name` | `Peer::join` and `pares-peer`, one for each name that is looked up | the system's resolver | its end | nobody: a look-up cannot be cut short |
//! | `pares-launch` | `Peer::join` with a launcher | starts to be made, the end of what it has started | the end of `pares-peer` | `pares-peer` |
//! | `pares-job` | `Instance::while_supervisor` | the bell; runs the program's job | dropping the `Job` or leaving | dropping the `Job` |
//! | `pares-call-all` | `Instance::call_all`, `Admin::call_all` | an instance's answer | its deadline | the call itself |

pub(crate) mod ask;
mod attend;
mod claim;
pub(crate) mod clock;
pub(crate) mod complaint;
pub(crate) mod endpoint;
pub(crate) mod files;
pub(crate) mod hand_over;
mod handshake;
pub(crate) mod health;
mod holder;
pub(crate) mod holding;
mod hub;
pub(crate) mod key;
mod lifeline;
mod link;
pub(crate) mod lock;
mod look;
pub(crate) mod obstacle;
mod office;
pub(crate) mod peer;
pub(crate) mod port;
#[cfg_attr(not(feature = "capi"), allow(dead_code))] // nobody else polls
pub(crate) mod ready;
pub(crate) mod role;
mod service;
mod sharing;
pub(crate) mod standing;
pub(crate) mod store;
mod stream;
pub(crate) mod threads;
mod waker;
pub(crate) mod watch;

pub(crate) use handshake::Pass;
pub(crate) use office::unix_ms;
