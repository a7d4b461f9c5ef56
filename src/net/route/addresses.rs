//! A router's addresses: taken, renewed and given up.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::error::RouteError;
use crate::net::netlink::address::{Assigned, Device, Devices, LOOPBACK};

/// The addresses of a routed service, and the device of this host that may have them.
pub(crate) struct RoutedAddresses {
    devices: Devices,
    device: u32,
    addresses: Vec<IpAddr>,
}

impl RoutedAddresses {
    /// Looks, and changes nothing.
    ///
    /// # Errors
    /// [`RouteError::Configured`] if a device has one of them that no router has given to it. What
    /// this device has from a router that died is no obstacle.
    pub(crate) fn open(device: &Device, addresses: &[IpAddr]) -> Result<Self, RouteError> {
        let mut devices = Devices::open().map_err(looking)?;
        if let Some(one) = configured(&mut devices, addresses, Some(device.number))? {
            return Err(one);
        }
        Ok(RoutedAddresses { devices, device: device.number, addresses: addresses.to_vec() })
    }

    /// Takes all of them, or renews them. The kernel takes them away after `life`, in whole
    /// seconds; `None` is for ever.
    ///
    /// # Errors
    /// The first one. What could be taken was.
    pub(crate) fn take(&mut self, life: Option<Duration>) -> io::Result<()> {
        self.each(|devices, address, device| devices.assign(address, device, life))
    }

    /// Gives all of them up that it still has.
    ///
    /// # Errors
    /// The first one. What could be given up was.
    pub(crate) fn release(&mut self) -> io::Result<()> {
        self.each(remove)
    }

    fn each(
        &mut self,
        mut act: impl FnMut(&mut Devices, IpAddr, u32) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut result = Ok(());
        for address in &self.addresses {
            result = result.and(act(&mut self.devices, *address, self.device));
        }
        result
    }
}

/// Takes an address from a device, if it has it.
pub(super) fn remove(devices: &mut Devices, address: IpAddr, device: u32) -> io::Result<()> {
    match devices.remove(address, device) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(()),
        // The device is gone.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        done => done,
    }
}

/// Looks whether a device has one of the addresses that it must not have. A target has them on
/// `lo`; a router has given them to `device`, or to any if there is none.
pub(super) fn configured(
    devices: &mut Devices,
    addresses: &[IpAddr],
    device: Option<u32>,
) -> Result<Option<RouteError>, RouteError> {
    let is_obstacle = |one: &Assigned| {
        // From another device the kernel takes it soon, or never.
        let is_routers = device.is_none_or(|ours| one.device == ours) || one.expires.is_some();
        addresses.contains(&one.address) && one.device != LOOPBACK && !(one.is_ours && is_routers)
    };
    let Some(one) = devices.addresses().map_err(looking)?.into_iter().find(is_obstacle) else {
        return Ok(None);
    };
    let all = devices.all().map_err(looking)?;
    let name = all.into_iter().find(|device| device.number == one.device);
    let device = name.map_or_else(|| format!("device {}", one.device), |device| device.name);
    Ok(Some(RouteError::Configured { address: one.address, device }))
}

pub(super) fn looking(error: io::Error) -> RouteError {
    RouteError::io("look at the network devices")(error)
}
