//! Rules for the configuration of a masterless group.

use std::collections::BTreeSet;

use super::limits::{
    MAX_DELAY, MAX_DESTINATIONS, MAX_INTERVAL, MAX_NEEDS, MAX_PEERS, MIN_DELAY, MIN_INTERVAL,
};
use super::{Config, Destination, Transport};
use crate::config::check::{check_events, check_port};
use crate::error::ConfigError;

impl Config {
    /// Checks everything that can be checked without touching the system.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.place.check()?;
        if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&self.interval) {
            return Err(ConfigError::new(
                "interval",
                format!("{:?}", self.interval),
                format!("{MIN_INTERVAL:?} to {MAX_INTERVAL:?}"),
            ));
        }
        if !(MIN_DELAY..=MAX_DELAY * self.interval).contains(&self.assumed_delay()) {
            let rule = format!("at least {MIN_DELAY:?}, and at most {MAX_DELAY} intervals");
            return Err(ConfigError::new("delay", format!("{:?}", self.assumed_delay()), rule));
        }
        if !(1..=MAX_PEERS).contains(&self.max_members) {
            return Err(ConfigError::new(
                "max_members",
                self.max_members,
                format!("1 to {MAX_PEERS}"),
            ));
        }
        if self.quorum > self.max_members {
            return Err(ConfigError::new("quorum", self.quorum, "at most max_members"));
        }
        check_events(self.events)?;
        if self.launcher.first().is_some_and(|program| program.is_empty()) {
            return Err(ConfigError::new("launcher", "", "a program and its arguments"));
        }
        self.check_needs()?;
        self.check_transport()
    }

    fn check_needs(&self) -> Result<(), ConfigError> {
        let mut services = BTreeSet::new();
        for need in &self.needs {
            if need.max.is_some_and(|max| max < need.min) {
                return Err(ConfigError::new(
                    "need",
                    need.service,
                    "the maximum must not be below the minimum",
                ));
            }
            if !services.insert(need.service) {
                return Err(ConfigError::new(
                    "need",
                    need.service,
                    "at most one need for each service type",
                ));
            }
        }
        if services.len() > MAX_NEEDS {
            return Err(ConfigError::new(
                "need",
                services.len(),
                format!("at most {MAX_NEEDS} service types"),
            ));
        }
        Ok(())
    }

    fn check_transport(&self) -> Result<(), ConfigError> {
        match &self.transport {
            Transport::Local(port) => check_port("local", *port),
            Transport::Multicast { group, .. }
                if !group.ip().is_multicast() || group.port() == 0 =>
            {
                let rule =
                    "a multicast address and a port, such as 239.1.2.3:4000 or [ff02::4d47]:4000";
                Err(ConfigError::new("multicast", group, rule))
            }
            Transport::Multicast { .. } => Ok(()),
            Transport::Unicast { bind, peers } => {
                if peers.is_empty() || peers.len() > MAX_DESTINATIONS {
                    return Err(ConfigError::new(
                        "unicast",
                        format!("{} peers", peers.len()),
                        format!("1 to {MAX_DESTINATIONS} peers"),
                    ));
                }
                let fault = |peer: &Destination| {
                    peer.fault(*bind).map(|rule| ConfigError::new("unicast", peer, rule))
                };
                if let Some(error) = peers.iter().find_map(fault) {
                    return Err(error);
                }
                if bind.port() == 0 || bind.ip().is_multicast() {
                    let rule = "an address of this machine and the port that the others send to";
                    return Err(ConfigError::new("unicast", bind, rule));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn refused(config: Config, what: &str) {
        assert_eq!(config.check().expect_err("accepted").what(), what);
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_defaults_and_the_presets_are_accepted() {
        let default = Config::default;
        for config in [default(), default().lan(), default().lossy(), default().launcher(["true"])]
        {
            assert_eq!(config.check(), Ok(()));
        }
        assert_eq!(default().multicast(address("[ff02::1]:1"), None).check(), Ok(()));
        assert_eq!(
            default().unicast(address("0.0.0.0:1"), [address("10.0.0.1:1")]).check(),
            Ok(())
        );
        assert_eq!(default().local_port(), Some(30099));
    }

    #[test]
    fn the_delay_follows_the_interval_unless_it_is_said() {
        let (default, ms) = (Config::default, Duration::from_millis);
        assert_eq!(default().assumed_delay(), ms(100));
        assert_eq!(default().interval(ms(1000)).assumed_delay(), ms(500));
        assert_eq!(default().interval(ms(20)).assumed_delay(), ms(20), "no less than it may be");
        assert_eq!(default().interval(ms(20)).check(), Ok(()));
        assert_eq!(default().interval(ms(60_000)).check(), Ok(()));
        assert_eq!(default().delay(ms(70)).interval(ms(1000)).assumed_delay(), ms(70));
        assert_eq!(default().delay(ms(70)).lan().assumed_delay(), ms(250));
        assert_eq!(default().lan().interval(ms(100)).assumed_delay(), ms(50));
        assert_eq!(default().lossy().assumed_delay(), ms(1000));
    }

    #[test]
    fn what_cannot_be_is_refused_by_the_name_of_its_setting() {
        let default = Config::default;
        let ms = Duration::from_millis;
        refused(Config::new("a/b"), "group");
        refused(default().interval(ms(19)), "interval");
        refused(default().interval(ms(60_001)), "interval");
        refused(default().delay(ms(19)), "delay");
        refused(default().delay(ms(2001)), "delay");
        refused(default().max_members(0), "max_members");
        refused(default().max_members(4097), "max_members");
        refused(default().quorum(5000), "quorum");
        refused(default().event_capacity(1), "event_capacity");
        refused(default().launcher([""]), "launcher");
        refused(default().need(1, 2, Some(1)), "need");
        refused(default().need(1, 1, None).need(1, 2, None), "need");
        refused((0..65).fold(default(), |config, service| config.need(service, 1, None)), "need");
        refused(default().local(0), "local");
        refused(default().multicast(address("10.0.0.1:1"), None), "multicast");
        refused(default().multicast(address("239.0.0.1:0"), None), "multicast");
        refused(default().unicast(address("0.0.0.0:1"), []), "unicast");
        refused(default().unicast(address("0.0.0.0:0"), [address("10.0.0.1:1")]), "unicast");
        refused(default().unicast(address("0.0.0.0:1"), [address("[::1]:1")]), "unicast");
        refused(default().unicast(address("0.0.0.0:1"), [address("10.0.0.1:0")]), "unicast");
        let many = (1..=257).map(|port| SocketAddr::new(address("10.0.0.1:1").ip(), port));
        refused(default().unicast(address("0.0.0.0:1"), many), "unicast");
        refused(default().unicast_names(address("0.0.0.0:1"), ["one"]), "unicast");
        assert_eq!(
            default().unicast_names(address("0.0.0.0:1"), ["one:1", "10.0.0.1:1"]).check(),
            Ok(())
        );
    }
}
