//! The settings that each instance holds: the newest value of every key.
//!
//! Invariant: merging has the same result in any order and any number of times. Instances that have
//! heard the same changes therefore hold the same settings. A removed setting is remembered as
//! removed, as long as there is room.

use std::collections::BTreeMap;

use crate::config::{MAX_SETTINGS, MAX_SETTINGS_BYTES};
use crate::wire::{Scope, Setting};

/// Of two values of one key, the one with the higher term counts, then the one with the higher
/// sequence. Both can be equal only where the last term could not be kept. Then the value decides,
/// which makes all instances decide alike.
type Version<'a> = (u64, u64, Option<&'a str>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    known: BTreeMap<(Scope, String), Setting>,
    /// The bytes of keys and values.
    bytes: usize,
}

fn version(setting: &Setting) -> Version<'_> {
    (setting.term, setting.sequence, setting.value.as_deref())
}

fn size(setting: &Setting) -> usize {
    setting.key.len() + setting.value.as_ref().map_or(0, String::len)
}

impl Settings {
    /// Takes a change. Returns true if it is new.
    pub(crate) fn merge(&mut self, setting: Setting) -> bool {
        let key = (setting.scope, setting.key.clone());
        let known = self.known.get(&key);
        if known.is_some_and(|known| version(known) >= version(&setting)) {
            return false;
        }
        let bytes = self.bytes - known.map_or(0, size) + size(&setting);
        // Twice of what may be set: what was removed is remembered, and groups that knew different
        // keys may meet.
        let full = (known.is_none() && self.known.len() >= 2 * MAX_SETTINGS)
            || bytes > 2 * MAX_SETTINGS_BYTES;
        if full && !self.forget_one_removed() {
            return false;
        }
        if full {
            return self.merge(setting);
        }
        self.bytes = bytes;
        self.known.insert(key, setting);
        true
    }

    /// Forgets the setting that was removed first. Returns false if none is removed.
    fn forget_one_removed(&mut self) -> bool {
        let removed = self.known.iter().filter(|(_, setting)| setting.value.is_none());
        let Some(key) =
            removed.min_by_key(|(_, setting)| version(setting)).map(|(key, _)| key.clone())
        else {
            return false;
        };
        self.bytes -= self.known.remove(&key).map_or(0, |setting| size(&setting));
        true
    }

    /// Returns true if there is room for this value of this key.
    pub(crate) fn has_room(&self, scope: Scope, key: &str, value: &str) -> bool {
        let others =
            self.present().filter(|setting| (setting.scope, setting.key.as_str()) != (scope, key));
        let (count, bytes) =
            others.fold((0, 0), |(count, bytes), other| (count + 1, bytes + size(other)));
        count < MAX_SETTINGS && bytes + key.len() + value.len() <= MAX_SETTINGS_BYTES
    }

    pub(crate) fn get(&self, scope: Scope, key: &str) -> Option<&str> {
        self.known.get(&(scope, key.to_owned()))?.value.as_deref()
    }

    /// Returns the settings that have a value, by key.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Setting> {
        self.known.values().filter(|setting| setting.value.is_some())
    }

    /// Returns all settings, the removed ones included.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Setting> {
        self.known.values()
    }

    /// Returns what is newer here than in `others`.
    pub(crate) fn newer_than(&self, others: &[Setting]) -> Vec<Setting> {
        let others: BTreeMap<(Scope, &str), Version<'_>> = others
            .iter()
            .map(|other| ((other.scope, other.key.as_str()), version(other)))
            .collect();
        let newer = |setting: &&Setting| {
            others
                .get(&(setting.scope, setting.key.as_str()))
                .is_none_or(|&other| other < version(setting))
        };
        self.known.values().filter(newer).cloned().collect()
    }

    /// Returns the highest term in which a known setting was set.
    pub(crate) fn newest_term(&self) -> u64 {
        self.known.values().map(|setting| setting.term).max().unwrap_or(0)
    }

    /// Returns true if this change, or a newer one of its key, is known.
    #[cfg(test)]
    pub(crate) fn has(&self, setting: &Setting) -> bool {
        self.known
            .get(&(setting.scope, setting.key.clone()))
            .is_some_and(|known| version(known) >= version(setting))
    }

    /// Returns the number of the next change in `term`.
    pub(crate) fn next_sequence(&self, term: u64) -> u64 {
        let of_term = self.known.values().filter(|setting| setting.term == term);
        of_term.map(|setting| setting.sequence).max().unwrap_or(0).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, value: Option<&str>, term: u64, sequence: u64) -> Setting {
        Setting {
            scope: Scope::Program,
            key: key.into(),
            value: value.map(Into::into),
            term,
            sequence,
        }
    }

    #[test]
    fn the_order_in_which_changes_are_heard_makes_no_difference() {
        let changes = [
            setting("a", Some("1"), 1, 1),
            setting("a", Some("2"), 1, 2),
            setting("a", None, 2, 1),
            setting("b", Some("x"), 1, 3),
            setting("b", Some("y"), 1, 3),
        ];
        let mut one = Settings::default();
        changes.iter().for_each(|change| _ = one.merge(change.clone()));
        let mut other = Settings::default();
        changes.iter().rev().for_each(|change| _ = other.merge(change.clone()));
        assert_eq!(one, other);
        assert_eq!((one.get(Scope::Program, "a"), one.get(Scope::Program, "b")), (None, Some("y")));
        assert!(changes.iter().all(|change| !one.merge(change.clone())), "heard before");
    }

    #[test]
    fn what_another_lacks_or_has_older_is_newer() {
        let mut settings = Settings::default();
        for change in
            [setting("a", Some("1"), 1, 1), setting("b", Some("2"), 1, 2), setting("c", None, 1, 3)]
        {
            assert!(settings.merge(change));
        }
        let theirs = [
            setting("a", Some("1"), 1, 1),
            setting("b", Some("1"), 0, 9),
            setting("d", Some("4"), 9, 9),
        ];
        let newer: Vec<String> =
            settings.newer_than(&theirs).into_iter().map(|setting| setting.key).collect();
        assert_eq!(newer, ["b", "c"]);
    }

    #[test]
    fn the_limits_hold_for_what_is_set_and_what_was_removed_makes_room() {
        let mut settings = Settings::default();
        for number in 0..MAX_SETTINGS {
            assert!(settings.has_room(Scope::Program, &format!("k{number}"), "v"));
            assert!(settings.merge(setting(&format!("k{number}"), Some("v"), 1, number as u64)));
        }
        assert!(!settings.has_room(Scope::Program, "one-more", "v"));
        assert!(settings.has_room(Scope::Program, "k0", "another"), "a key that is there");
        assert!(!settings.has_room(Scope::Program, "k0", &"x".repeat(MAX_SETTINGS_BYTES)));
        assert!(settings.merge(setting("k0", None, 2, 1)));
        assert!(settings.has_room(Scope::Program, "one-more", "v"));
        for number in 0..5 * MAX_SETTINGS as u64 {
            assert!(settings.merge(setting(&format!("gone{number}"), None, 3, number)));
        }
        assert!(settings.known.len() <= 2 * MAX_SETTINGS);
        assert_eq!(
            settings.present().count(),
            MAX_SETTINGS - 1,
            "only what was removed is forgotten"
        );
    }
}
