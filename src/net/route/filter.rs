//! The packet filter of a router's host: carries out what the router has decided.
//!
//! Each change is one batch, which the kernel makes at once or not at all, while packets go by.
//! `state/route/sim/kernel.rs` is the model of all this: the simulator's routers write into that.

mod fill;

use std::io;

use super::program::connections::{self, Noted};
use super::program::{self, Plan};
use crate::error::RouteError;
use crate::net::netlink::Refused;
use crate::net::netlink::nftables::{Batch, Nftables, Owner};
use crate::state::route::{Conn, Ends, EndsRole, HERE, Target, TargetReports};
use crate::wire::Host;

/// The table of a router, which belongs to this process and outlives it.
pub(crate) struct PacketFilter {
    pub(super) nftables: Nftables,
    table: String,
    plan: Plan,
    lasting: bool,
}

/// A packet filter, and if its table is that of a process that has ended, the targets in that.
/// Their hosts are without hardware addresses.
pub(crate) type Opened = (PacketFilter, Option<Vec<(Target, Host)>>);

impl PacketFilter {
    /// Loads the program, or takes over a table that was made for the same plan. In that,
    /// everything goes on but new connections, until the router says to whom. Any other table is
    /// replaced.
    ///
    /// Where the kernel knows no tables with an owner, another living router cannot be recognised.
    ///
    /// # Errors
    /// [`RouteError::Held`] if the owner of the table lives.
    pub(crate) fn open(table: String, plan: Plan) -> Result<Opened, RouteError> {
        let mut nftables = Nftables::open().map_err(speaking())?;
        let found = nftables.table(&table).map_err(reading())?;
        let mut filter = PacketFilter { nftables, table, plan, lasting: true };
        let Some(found) = found else {
            filter.load(false)?;
            return Ok((filter, None));
        };
        if found.has_owners {
            let claim = |batch: &mut Batch<'_>, _: &Plan| _ = batch.table(Owner::Me, &found.note);
            filter.try_change(claim).map_err(|refused| refusal(refused, found.owner))?;
        }
        if found.note != filter.plan.note() {
            filter.load(true)?;
            return Ok((filter, None));
        }
        filter.lasting = found.has_owners;
        let targets = filter.adopt()?;
        Ok((filter, Some(targets)))
    }

    /// Loads the program anew, in one step with the end of what was there.
    fn load(&mut self, replace: bool) -> Result<(), RouteError> {
        let load = |owner| {
            move |batch: &mut Batch<'_>, plan: &Plan| {
                if replace {
                    batch.destroy_table();
                }
                program::load(batch, owner, plan);
            }
        };
        let done = match self.try_change(load(Owner::Me)) {
            Err(Refused { error, .. }) if is_unknown_flag(&error) => {
                self.lasting = false;
                self.try_change(load(Owner::Nobody))
            }
            done => done,
        };
        done.map_err(|refused| refusal(refused, None))
    }

    /// Connections of targets that are not in the table cannot be told from those of later targets
    /// with the same numbers.
    fn adopt(&mut self) -> Result<Vec<(Target, Host)>, RouteError> {
        let targets = program::targets(&mut self.nftables, &self.table).map_err(reading())?;
        let has = |to: Target| to == HERE || targets.iter().any(|(target, _)| *target == to);
        let lost: Vec<Conn> =
            self.connections()?.into_iter().filter(|(_, to)| !has(*to)).map(|one| one.0).collect();
        self.change(|batch, plan| {
            program::clear_slots(batch);
            program::write_role(batch, plan, EndsRole::Other, None);
            connections::forget(batch, plan, Noted::Known, &lost);
        })?;
        Ok(targets)
    }

    /// Returns true if reloading the host's firewall does not remove the table.
    pub(crate) fn is_lasting(&self) -> bool {
        self.lasting
    }

    /// Makes these connections known, and no others.
    pub(crate) fn replace(&mut self, known: Vec<(Conn, Target)>) -> Result<(), RouteError> {
        let known = fill::once_each(known);
        self.change(|batch, plan| {
            connections::forget_all(batch, Noted::Known);
            connections::know(batch, plan, &known);
        })
    }

    /// Adds what targets have to what is known, and what is known of them beyond that, and is
    /// silent, is forgotten. Where another target is known for a live connection, both are wrong.
    pub(crate) fn fill(&mut self, reports: TargetReports) -> Result<(), RouteError> {
        // A new connection that has become known in between as another target's fails the batch.
        const TRIES: usize = 8;
        let mut done = Ok(());
        for _ in 0..TRIES {
            let known = self.read(Noted::Known)?;
            let strangers = self.strangers()?;
            let change = fill::change(known, strangers, &reports);
            done = self.try_change(|batch, plan| {
                connections::forget(batch, plan, Noted::Stranger, &change.no_strangers);
                connections::forget(batch, plan, Noted::Known, &change.forget);
                connections::know(batch, plan, &change.know);
            });
            match &done {
                Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {}
                _ => break,
            }
        }
        done.map_err(|refused| refusal(refused, None))
    }

    pub(crate) fn forget(&mut self, conns: &[Conn]) -> Result<(), RouteError> {
        self.change(|batch, plan| connections::forget(batch, plan, Noted::Known, conns))
    }

    /// Answers these with a reset, until their clients open them anew.
    pub(crate) fn refuse(&mut self, conns: &[Conn]) -> Result<(), RouteError> {
        self.change(|batch, plan| {
            connections::forget(batch, plan, Noted::Stranger, conns);
            connections::refuse(batch, plan, conns);
        })
    }

    /// Sends a target's packets there.
    pub(crate) fn point(&mut self, target: Target, host: Host) -> Result<(), RouteError> {
        self.change(|batch, _| program::write_target(batch, target, Some(&host)))
    }

    /// Sends nothing to a target. Its connections stay known.
    pub(crate) fn hold(&mut self, target: Target) -> Result<(), RouteError> {
        self.change(|batch, _| program::write_target(batch, target, None))
    }

    /// Sends nothing to a target any more and forgets its connections; with `refuse`, answers them
    /// with a reset. Returns them.
    pub(crate) fn cut(&mut self, target: Target, refuse: bool) -> Result<Vec<Conn>, RouteError> {
        let known = self.connections()?.into_iter();
        let its: Vec<Conn> = known.filter(|(_, to)| *to == target).map(|(conn, _)| conn).collect();
        let cut = |refuse| {
            let its = &its;
            move |batch: &mut Batch<'_>, plan: &Plan| {
                program::write_target(batch, target, None);
                connections::forget(batch, plan, Noted::Known, its);
                if refuse {
                    connections::forget(batch, plan, Noted::Stranger, its);
                    connections::refuse(batch, plan, its);
                }
            }
        };
        match self.try_change(cut(refuse)) {
            // As many are refused as can be. These become strangers, and are refused as such.
            Err(Refused { error, .. }) if refuse && is_full(&error) => self.change(cut(false))?,
            done => done.map_err(|refused| refusal(refused, None))?,
        }
        Ok(its)
    }

    /// Gives a service's new connections to the targets in these slots, as many as the plan says;
    /// to nobody if there are none.
    pub(crate) fn slots(&mut self, service: u16, slots: &[Target]) -> Result<(), RouteError> {
        debug_assert!(slots.is_empty() || slots.len() == self.plan.slots());
        self.change(|batch, plan| program::write_slots(batch, plan, service, slots))
    }

    /// What becomes of packets that the table says nothing of.
    pub(crate) fn ends(&mut self, ends: Ends) -> Result<(), RouteError> {
        self.change(|batch, plan| program::write_ends(batch, plan, &ends))
    }

    /// The other routers.
    pub(crate) fn routers(&mut self, hosts: &[Host]) -> Result<(), RouteError> {
        self.change(|batch, _| program::write_routers(batch, hosts))
    }

    /// Returns the connections that the table does not know, and of which packets have come.
    pub(crate) fn strangers(&mut self) -> Result<Vec<Conn>, RouteError> {
        Ok(self.read(Noted::Stranger)?.into_iter().map(|(conn, ..)| conn).collect())
    }

    /// Returns the connections that the table knows.
    pub(crate) fn connections(&mut self) -> Result<Vec<(Conn, Target)>, RouteError> {
        Ok(self.read(Noted::Known)?.into_iter().map(|(conn, to, _)| (conn, to)).collect())
    }

    /// Returns how many packets this host has sent on, to targets and to other routers.
    pub(crate) fn passed(&mut self) -> Result<u64, RouteError> {
        self.nftables.counted(&self.table).map_err(reading())
    }

    /// Removes the table.
    pub(crate) fn remove(mut self) -> Result<(), RouteError> {
        self.change(|batch, _| _ = batch.destroy_table())
    }

    fn read(&mut self, what: Noted) -> Result<fill::Lasting, RouteError> {
        connections::read(&mut self.nftables, &self.table, &self.plan, what).map_err(reading())
    }

    fn change(&mut self, write: impl FnOnce(&mut Batch<'_>, &Plan)) -> Result<(), RouteError> {
        self.try_change(write).map_err(|refused| refusal(refused, None))
    }

    fn try_change(&mut self, write: impl FnOnce(&mut Batch<'_>, &Plan)) -> Result<(), Refused> {
        let mut batch = Batch::of(&self.table);
        write(&mut batch, &self.plan);
        self.nftables.commit(batch)
    }
}

fn speaking() -> impl FnOnce(io::Error) -> RouteError {
    RouteError::io("speak to the kernel's packet filter")
}

fn reading() -> impl FnOnce(io::Error) -> RouteError {
    RouteError::io("read the packet filter's table")
}

/// Whoever may not change anything is told so when the connection to the kernel is first used.
/// After that, it means that the table is another's.
fn refusal(refused: Refused, owner: Option<u32>) -> RouteError {
    match refused.error.raw_os_error() {
        Some(libc::EPERM) => RouteError::Held { pid: process(owner) },
        _ => RouteError::Io { doing: "change the packet filter's table", source: refused.error },
    }
}

/// The process that has a connection to the kernel, if the connection's number tells it.
pub(super) fn process(owner: Option<u32>) -> Option<u32> {
    owner.filter(|id| i32::try_from(*id).is_ok())
}

/// Kernels before 6.9 know no tables that outlive their owner.
fn is_unknown_flag(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL))
}

/// A set has as many elements as it may.
fn is_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENFILE)
}
