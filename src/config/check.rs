//! Rules for a configuration, and for names, words, metadata and resources.

use std::collections::BTreeSet;

use super::Config;
use super::limits::{
    MAX_FUNCTION_NAME, MAX_FUNCTIONS, MAX_HANG_TIMEOUT, MAX_MEMBERS, MAX_META, MAX_META_BYTES,
    MAX_NAME, MAX_RESOURCES, MAX_UNITS, MAX_WORD, MIN_EVENTS, MIN_HANG_TIMEOUT,
};
use crate::error::ConfigError;

impl Config {
    /// Checks everything that can be checked without touching the system.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        const MOST: usize = MAX_FUNCTIONS - 8;
        self.place.check()?;
        check_port("port", self.port)?;
        if let Some(name) = &self.name {
            check_name(name)?;
        }
        check_meta(&self.meta)?;
        for function in &self.functions {
            check_function(&function.name)?;
        }
        if self.functions.len() > MOST {
            return Err(ConfigError::new(
                "admin_function",
                self.functions.len(),
                format!("at most {MOST} besides the built-in ones"),
            ));
        }
        check_resources(
            self.resources.iter().map(|one| (one.name.as_str(), one.limit, one.per_holder)),
        )?;
        if let Some(timeout) = self.hang_timeout {
            if !(MIN_HANG_TIMEOUT..=MAX_HANG_TIMEOUT).contains(&timeout) {
                return Err(ConfigError::new(
                    "hang_timeout",
                    format!("{timeout:?}"),
                    format!("{MIN_HANG_TIMEOUT:?} to {MAX_HANG_TIMEOUT:?}"),
                ));
            }
        }
        if self.end_hung_supervisor && self.hang_timeout.is_none() {
            return Err(ConfigError::new("end_hung_supervisor", "true", "it needs a hang_timeout"));
        }
        check_events(self.events)?;
        if !(1..=MAX_MEMBERS).contains(&self.max_members) {
            return Err(ConfigError::new(
                "max_members",
                self.max_members,
                format!("1 to {MAX_MEMBERS}"),
            ));
        }
        Ok(())
    }
}

pub(super) fn check_port(what: &'static str, port: Option<u16>) -> Result<(), ConfigError> {
    if port == Some(0) {
        return Err(ConfigError::new(what, "0", format!("a port may be 1 to {}", u16::MAX)));
    }
    Ok(())
}

pub(super) fn check_events(events: usize) -> Result<(), ConfigError> {
    if events < MIN_EVENTS {
        return Err(ConfigError::new("event_capacity", events, format!("at least {MIN_EVENTS}")));
    }
    Ok(())
}

/// Checks a name. Names appear in tables, logs and shell commands, so they must not garble these.
pub(crate) fn check_name(name: &str) -> Result<(), ConfigError> {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    if name.is_empty()
        || name.len() > MAX_NAME
        || name.contains(bad)
        || name.starts_with(['@', '-'])
        || name == "main"
    {
        let rule = format!(
            "an instance's name must have 1 to {MAX_NAME} bytes, no white space or control \
             characters, must not begin with @ or -, and must not be `main`"
        );
        return Err(ConfigError::new("name", name, rule));
    }
    Ok(())
}

pub(crate) fn check_meta(meta: &[(String, String)]) -> Result<(), ConfigError> {
    let bytes: usize = meta.iter().map(|(key, value)| key.len() + value.len()).sum();
    let bad_key = |key: &str| {
        key.is_empty() || key.contains(|c: char| c.is_control() || c.is_whitespace() || c == '=')
    };
    if let Some((key, _)) = meta.iter().find(|(key, _)| bad_key(key)) {
        return Err(ConfigError::new(
            "meta",
            key,
            "a key must not be empty, or contain white space, control characters or `=`",
        ));
    }
    if let Some((_, value)) = meta.iter().find(|(_, value)| value.contains(char::is_control)) {
        return Err(ConfigError::new("meta", value, "a value must not contain control characters"));
    }
    if meta.len() > MAX_META || bytes > MAX_META_BYTES {
        return Err(ConfigError::new(
            "meta",
            meta.len(),
            format!("at most {MAX_META} pairs, of {MAX_META_BYTES} bytes in all"),
        ));
    }
    Ok(())
}

pub(crate) fn check_function(name: &str) -> Result<(), ConfigError> {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    if name.is_empty()
        || name.len() > MAX_FUNCTION_NAME
        || name.contains(bad)
        || name.starts_with('-')
    {
        let rule = format!(
            "a function's name must have 1 to {MAX_FUNCTION_NAME} bytes, no white space or \
             control characters, and must not begin with -"
        );
        return Err(ConfigError::new("admin_function", name, rule));
    }
    Ok(())
}

/// Checks the name of a resource, the key of a setting, or the topic of a message.
pub(crate) fn check_word(what: &'static str, word: &str) -> Result<(), ConfigError> {
    let bad = |c: char| c.is_control() || c.is_whitespace();
    if word.is_empty() || word.len() > MAX_WORD || word.contains(bad) || word.starts_with('-') {
        let rule = format!(
            "it must have 1 to {MAX_WORD} bytes, no white space or control characters, and must \
             not begin with -"
        );
        return Err(ConfigError::new(what, word, rule));
    }
    Ok(())
}

/// Checks what an instance declares: names, limits, and limits for one holder.
pub(crate) fn check_resources<'a>(
    declared: impl Iterator<Item = (&'a str, u64, Option<u64>)>,
) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (name, limit, per_holder) in declared {
        check_word("resource", name)?;
        if limit > MAX_UNITS || per_holder.is_some_and(|most| most > MAX_UNITS) {
            return Err(ConfigError::new(
                "resource",
                name,
                format!("a limit may be 0 to {MAX_UNITS}"),
            ));
        }
        if !names.insert(name) {
            return Err(ConfigError::new("resource", name, "it is declared twice"));
        }
    }
    if names.len() > MAX_RESOURCES {
        return Err(ConfigError::new(
            "resource",
            names.len(),
            format!("at most {MAX_RESOURCES} resources"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn refused(config: Config, what: &str) {
        assert_eq!(config.check().expect_err("accepted").what(), what);
    }

    #[test]
    fn the_defaults_are_accepted() {
        assert_eq!(Config::default().check(), Ok(()));
        assert_eq!(Config::default().supervisor_port(), 30099);
    }

    #[test]
    fn names_that_would_garble_a_table_a_shell_or_a_path_are_refused() {
        for group in ["", ".hidden", "-x", "a/b", "a b", "ü", &"x".repeat(65)] {
            refused(Config::new(group), "group");
        }
        for name in ["", "main", "@all", "-v", "a b", "a\nb", "a\0", &"x".repeat(129)] {
            refused(Config::default().name(name), "name");
        }
        for function in ["", "a b", "-x", &"f".repeat(65)] {
            refused(
                Config::default().admin_function(function, "", |_| Ok(vec![])),
                "admin_function",
            );
        }
        for key in ["", "a=b", "a b"] {
            refused(Config::default().meta(key, "v"), "meta");
        }
        refused(Config::default().meta("k", "a\nb"), "meta");
        refused(Config::default().meta("k", "x".repeat(5000)), "meta");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        refused(Config::default().port(0), "port");
        refused(Config::default().event_capacity(1), "event_capacity");
        refused(Config::default().max_members(0), "max_members");
        refused(Config::default().max_members(20_000), "max_members");
        refused(Config::default().hang_timeout(Duration::from_millis(99)), "hang_timeout");
        refused(Config::default().hang_timeout(Duration::MAX), "hang_timeout");
        refused(Config::default().end_hung_supervisor(true), "end_hung_supervisor");
    }
}
