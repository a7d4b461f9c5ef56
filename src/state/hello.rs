//! The one message that carries everything: what an instance is, what it knows of the group, and
//! what it holds.

use super::permits::Claims;
use super::subordinate::Roster;
use crate::config::{self, MAX_PERMITS, MAX_RESOURCES, MAX_SETTING, MAX_SETTINGS, MAX_UNITS};
use crate::error::ConfigError;
use crate::wire::{Entry, Greeting, Joining, Message, Scope, Setting};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) entry: Entry,
    /// The highest term it has seen.
    pub(crate) last_term: u64,
    /// Set by a witness only.
    pub(crate) roster: Option<Roster>,
    pub(crate) claims: Claims,
    pub(crate) settings: Vec<Setting>,
}

impl Hello {
    pub(crate) fn into_message(self) -> Message {
        let Hello { entry, last_term, roster, claims, settings } = self;
        let Claims { confirmed_term, declared, held, wanted, counted } = claims;
        let roster = roster.map(Roster::into_record);
        let greeting = Greeting {
            entry,
            last_term,
            confirmed_term,
            roster,
            declared,
            held,
            wanted,
            counted,
            settings,
        };
        Joining::Hello { greeting: greeting.into() }.into()
    }

    /// Makes the hello of a greeting.
    pub(crate) fn of(greeting: Greeting) -> Self {
        let Greeting {
            entry,
            last_term,
            confirmed_term,
            roster,
            declared,
            held,
            wanted,
            counted,
            settings,
        } = greeting;
        let roster = roster.map(Roster::from_record);
        let claims = Claims { confirmed_term, declared, held, wanted, counted };
        Hello { entry, last_term, roster, claims, settings }
    }

    /// Checks what an instance says of itself, before it is believed, printed or passed on.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_entry(&self.entry)?;
        check_claims(&self.claims)?;
        if self.settings.len() > 2 * MAX_SETTINGS {
            return Err(format!("{} settings", self.settings.len()));
        }
        self.settings.iter().try_for_each(check_setting)
    }
}

fn text(error: ConfigError) -> String {
    error.to_string()
}

pub(crate) fn check_entry(entry: &Entry) -> Result<(), String> {
    config::check_name(&entry.name).map_err(text)?;
    config::check_meta(&entry.meta).map_err(text)?;
    entry.functions.iter().try_for_each(|name| config::check_function(name)).map_err(text)?;
    if entry.functions.len() > config::MAX_FUNCTIONS {
        return Err(format!("{} functions", entry.functions.len()));
    }
    if entry.admin_port == 0 {
        return Err("no admin endpoint".into());
    }
    Ok(())
}

fn check_claims(Claims { declared, held, wanted, counted, .. }: &Claims) -> Result<(), String> {
    config::check_resources(
        declared.iter().map(|one| (one.resource.as_str(), one.limit, one.per_holder)),
    )
    .map_err(text)?;
    let numbers = held.iter().map(|held| held.id).chain(wanted.iter().map(|wanted| wanted.id));
    let mut ids: Vec<u64> = numbers.collect();
    ids.sort_unstable();
    if ids.len() > MAX_PERMITS || ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("more permits than there may be, or two of one number".into());
    }
    held.iter().try_for_each(|held| check_units(&held.resource, held.units))?;
    wanted.iter().try_for_each(|wanted| check_units(&wanted.resource, wanted.units))?;
    counted.iter().try_for_each(|counted| check_units(&counted.resource, counted.units))?;
    if counted.len() > MAX_RESOURCES {
        return Err(format!("tallies of {} resources", counted.len()));
    }
    Ok(())
}

pub(crate) fn check_units(resource: &str, units: u64) -> Result<(), String> {
    config::check_word("resource", resource).map_err(text)?;
    if (1..=MAX_UNITS).contains(&units) {
        Ok(())
    } else {
        Err(format!("{units} units of {resource}: 1 to {MAX_UNITS}"))
    }
}

fn check_setting(setting: &Setting) -> Result<(), String> {
    check_key_and_value(&setting.key, setting.value.as_deref())?;
    let limit = setting.value.as_ref().filter(|_| setting.scope == Scope::Limit);
    if limit.is_some_and(|limit| read_limit(limit).is_none()) {
        return Err(format!("a limit of {:?}", setting.value));
    }
    Ok(())
}

pub(crate) fn check_key_and_value(key: &str, value: Option<&str>) -> Result<(), String> {
    config::check_word("key", key).map_err(text)?;
    match value {
        Some(value) if value.len() > MAX_SETTING => {
            Err(format!("a value of {} bytes; at most {MAX_SETTING}", value.len()))
        }
        Some(_) | None => Ok(()),
    }
}

/// Returns the limit that a setting of [`Scope::Limit`] stands for.
pub(crate) fn read_limit(value: &str) -> Option<u64> {
    value.parse().ok().filter(|&limit| limit <= MAX_UNITS)
}
