//! Looks whether this kernel has what routing takes, and changes nothing.

use std::io;

use super::program::{self, Plan};
use crate::net::netlink::Refused;
use crate::net::netlink::nftables::expression::{Expression, Register};
use crate::net::netlink::nftables::{Batch, Nftables, Owner};

/// A part of the kernel that some kernels are built without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Filter,
    Devices,
    Ingress,
    Forward,
    Reset,
    Count,
    Hash,
    /// Removing what may be there or not.
    Destroy,
    /// A table that belongs to one process and outlives it.
    Owner,
    /// The program, although all its parts are there.
    Program,
}

impl Part {
    /// What it is called where a kernel is configured.
    pub(crate) fn called(self) -> &'static str {
        match self {
            Part::Filter => "nf_tables (CONFIG_NF_TABLES)",
            Part::Devices => "nf_tables on devices (CONFIG_NF_TABLES_NETDEV)",
            Part::Ingress => "the ingress hook (CONFIG_NETFILTER_INGRESS)",
            Part::Forward => "`fwd` (CONFIG_NFT_FWD_NETDEV)",
            Part::Reset => "`reject` on devices (CONFIG_NFT_REJECT_NETDEV)",
            Part::Count => "`numgen` (CONFIG_NFT_NUMGEN)",
            Part::Hash => "`jhash` (CONFIG_NFT_HASH)",
            Part::Destroy => "the removal of what may be missing (Linux 6.3)",
            Part::Owner => "tables that outlive their owner (Linux 6.9)",
            Part::Program => "a part of the program",
        }
    }
}

/// Nothing has this name: a batch that is only checked may use it.
const TABLE: &str = "pares_probe";

/// Returns the parts that this kernel lacks, each with its own words. All is well if there are
/// none, or only [`Part::Owner`].
///
/// # Errors
/// `PermissionDenied` without CAP_NET_ADMIN, which checking takes, too.
pub(crate) fn lacking(
    nftables: &mut Nftables,
    device: &str,
    device_number: u32,
) -> io::Result<Vec<(Part, io::Error)>> {
    let mut look = Look { nftables, lacking: Vec::new() };
    look.at(Part::Filter, |_| {})?;
    if look.lacking.is_empty() {
        look.at(Part::Devices, |batch| _ = batch.table(Owner::Nobody, b""))?;
    }
    if !look.lacking.is_empty() {
        return Ok(look.lacking);
    }
    look.at(Part::Owner, |batch| _ = batch.table(Owner::Me, b""))?;
    look.at(Part::Destroy, |batch| _ = batch.destroy_table())?;
    look.at(Part::Ingress, |batch| {
        batch.table(Owner::Nobody, b"");
        batch.entrance("c", device, 0);
    })?;
    for (part, expression) in expressions() {
        // One that reads a register that none has written is refused for that.
        let mut rule: Vec<Expression> = (0..16).map(|at| zero(Register(at))).collect();
        rule.push(expression);
        look.at(part, |batch| {
            batch.table(Owner::Nobody, b"");
            batch.chain("c");
            batch.rule("c", &rule);
        })?;
    }
    if look.lacking.iter().all(|(part, _)| *part == Part::Owner) {
        let services = ["192.0.2.1:1", "[2001:db8::1]:1"].map(|text| text.parse().expect("an end"));
        for by_client in [false, true] {
            let (device, services) = (device.to_owned(), services.into());
            let plan = Plan { device, device_number, services, by_client };
            look.at(Part::Program, |batch| program::load(batch, Owner::Nobody, &plan))?;
        }
    }
    Ok(look.lacking)
}

struct Look<'a> {
    nftables: &'a mut Nftables,
    lacking: Vec<(Part, io::Error)>,
}

impl Look<'_> {
    fn at(&mut self, part: Part, write: impl FnOnce(&mut Batch<'_>)) -> io::Result<()> {
        let mut batch = Batch::of(TABLE);
        write(&mut batch);
        let refused = first(self.nftables.check(&batch))?;
        self.lacking.extend(refused.map(|refused| (part, refused.error)));
        Ok(())
    }
}

fn expressions() -> [(Part, Expression); 4] {
    let (one, other) = (Register(0), Register(4));
    [
        (
            Part::Forward,
            Expression::Forward { device: one, to: other, family: libc::AF_INET as u8 },
        ),
        (Part::Reset, Expression::Reset),
        (Part::Count, Expression::Count { to: one, modulus: 2, offset: 0 }),
        (Part::Hash, Expression::Hash { from: other, length: 4, to: one, modulus: 2, offset: 0 }),
    ]
}

fn zero(to: Register) -> Expression {
    Expression::Load { to, value: vec![0; 4] }
}

/// What the kernel refused first.
fn first(answer: Result<Vec<Refused>, Refused>) -> io::Result<Option<Refused>> {
    let refused = answer.map_err(|refused| refused.error)?.into_iter().next();
    match refused {
        Some(Refused { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(error)
        }
        refused => Ok(refused),
    }
}
