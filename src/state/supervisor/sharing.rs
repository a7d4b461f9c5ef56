//! Decides for the supervisor about what the instances of a group share: permits and tallies,
//! settings, messages.
//!
//! What is written to a lifeline is read, even if we die with the next instruction. A setting that
//! is acknowledged after it was written to all members therefore survives us, and a grant that was
//! written stands.

use super::*;
use crate::config::{
    self, MAX_MESSAGE, MAX_PERMITS, MAX_RESOURCES, MAX_SETTINGS, MAX_SETTINGS_BYTES, MAX_UNITS,
    MESSAGE_WINDOW, message_size,
};
use crate::error::in_bytes;
use crate::state::hello::{check_key_and_value, check_units, read_limit};
#[cfg(test)]
use crate::state::permits::Usage;
use crate::wire::field::Payload;
use crate::wire::{Counted, Fault, Response, Scope, Setting, Sharing};

fn not_done(fault: Fault, detail: impl Into<String>) -> Vec<Message> {
    vec![Response::NotDone { fault, detail: detail.into() }.into()]
}

fn to(conn: ConnId, message: ToHolder) -> ServerAction {
    if conn == OWN {
        ServerAction::Own { message }
    } else {
        ServerAction::Send { conn, message: message.into() }
    }
}

impl Supervisor {
    pub(super) fn enter_own(&mut self, claims: Claims, verdicts: &mut Vec<Verdict>) {
        self.ledger.enter(OWN, claims, None, verdicts);
        for setting in self.settings.present().filter(|setting| setting.scope == Scope::Limit) {
            let limit = setting.value.as_deref().and_then(read_limit);
            self.ledger.set_limit(&setting.key, limit, verdicts);
        }
    }

    /// Takes what a member, or our own instance, says about what it holds. Returns an error if it
    /// broke the protocol.
    pub(super) fn on_shared(
        &mut self,
        conn: ConnId,
        message: FromHolder,
        actions: &mut Vec<ServerAction>,
    ) -> Result<(), String> {
        if conn != OWN && !self.admitted.contains_key(&conn) {
            return Ok(()); // cut off or replaced meanwhile
        }
        let mut verdicts = Vec::new();
        match message {
            FromHolder::Acquire { wanted } => {
                check_units(&wanted.resource, wanted.units)?;
                if self.ledger.knows(conn, wanted.id) {
                    return Err("a second permit of one number".into());
                }
                self.ledger.acquire(conn, wanted, &mut verdicts);
            }
            FromHolder::Release { id } => self.ledger.release(conn, id, &mut verdicts),
            FromHolder::Count { counted: Counted { resource, units } } => {
                check_units(&resource, units.max(1))?;
                if units > 0
                    && self.ledger.counts(conn) >= MAX_RESOURCES
                    && !self.ledger.is_counted(conn, &resource)
                {
                    return Err("tallies of more resources than there may be".into());
                }
                self.ledger.count(conn, Counted { resource, units }, &mut verdicts);
            }
            FromHolder::TotalQuery { id, resource } => {
                config::check_word("resource", &resource).map_err(|error| error.to_string())?;
                if self.queries.range((conn, 0)..=(conn, u64::MAX)).count() >= MAX_PERMITS {
                    return Err("more questions at once than there may be".into());
                }
                self.queries.insert((conn, id), resource);
                self.answer_totals(actions);
            }
            FromHolder::Taken { bytes } => {
                let Some(member) = self.admitted.get_mut(&conn) else { return Ok(()) };
                member.under_way = member.under_way.saturating_sub(bytes);
                actions.extend(member.mark_missed(conn));
            }
        }
        self.pronounce(verdicts, actions);
        Ok(())
    }

    /// Answers questions at the registry port about resources, settings and messages. `actions` has
    /// what members must be told, which must be done before the answer is sent.
    ///
    /// [`Fault::NotSettled`] means that the asker must ask again once the group is settled.
    pub(crate) fn ask(
        &mut self,
        question: Sharing,
        actions: &mut Vec<ServerAction>,
    ) -> Vec<Message> {
        match question {
            Sharing::UsageQuery { resource } => self.usage(resource.as_deref()),
            Sharing::SetLimit { resource, limit } => self.set_limit(resource, limit, actions),
            Sharing::Revoke { resource, holder } => self.revoke(&resource, &holder, actions),
            Sharing::SettingQuery { key } => self.setting(key.as_deref()),
            Sharing::Set { key, value, expected } => self.set(key, value, expected, actions),
            Sharing::Publish { from, to, topic, payload } => {
                self.publish(from, to, topic, payload, actions)
            }
        }
    }

    /// Returns all settings, for a member that was left behind.
    pub(crate) fn all_settings(&self) -> impl Iterator<Item = ToHolder> {
        self.settings.all().map(|setting| ToHolder::Setting { setting: setting.clone() })
    }

    /// What the ledger says, for tests and fuzzing.
    #[cfg(test)]
    pub(crate) fn book_usage(&self, resource: &str) -> Option<Usage> {
        self.ledger.usage(resource)
    }

    /// Returns the same for one holder.
    #[cfg(test)]
    pub(crate) fn claims_of(&self, holder: ConnId) -> Claims {
        self.ledger.claims_of(holder)
    }

    #[cfg(test)]
    pub(crate) fn knows(&self, holder: ConnId, id: u64) -> bool {
        self.ledger.knows(holder, id)
    }

    #[cfg(test)]
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells the members concerned what the ledger has decided.
    pub(super) fn pronounce(&self, verdicts: Vec<Verdict>, actions: &mut Vec<ServerAction>) {
        for verdict in verdicts {
            let (holder, message) = match verdict {
                Verdict::Granted { holder, id } => (holder, ToHolder::Granted { id }),
                Verdict::Denied { holder, id, shortage, units } => {
                    (holder, ToHolder::Denied { id, shortage, units })
                }
                Verdict::Revoked { holder, id } => (holder, ToHolder::Revoked { id }),
                Verdict::OverLimit { resource, in_use, limit } => {
                    self.tell_all(ToHolder::OverLimit { resource, in_use, limit }, actions);
                    continue;
                }
            };
            actions.push(to(holder, message));
        }
    }

    /// Answers the questions for totals, once every instance that counts is here.
    pub(super) fn answer_totals(&mut self, actions: &mut Vec<ServerAction>) {
        if !self.settled() {
            return;
        }
        for ((conn, id), resource) in std::mem::take(&mut self.queries) {
            actions.push(to(conn, ToHolder::Total { id, units: self.ledger.total(&resource) }));
        }
    }

    fn tell_all(&self, message: ToHolder, actions: &mut Vec<ServerAction>) {
        let conns: Vec<ConnId> = self.admitted.keys().copied().collect();
        if !conns.is_empty() {
            actions.push(ServerAction::Tell { conns, message: message.clone().into() });
        }
        actions.push(ServerAction::Own { message });
    }

    /// Takes settings that are new, and tells all members.
    pub(super) fn merge(
        &mut self,
        settings: Vec<Setting>,
        verdicts: &mut Vec<Verdict>,
        actions: &mut Vec<ServerAction>,
    ) {
        for setting in settings {
            if !self.settings.merge(setting.clone()) {
                continue;
            }
            if setting.scope == Scope::Limit {
                let limit = setting.value.as_deref().and_then(read_limit);
                self.ledger.set_limit(&setting.key, limit, verdicts);
            }
            self.tell_all(ToHolder::Setting { setting }, actions);
        }
    }

    /// Decides the next change of a setting, tells it to all, and returns it for the asker.
    fn change(
        &mut self,
        scope: Scope,
        key: String,
        value: Option<String>,
        actions: &mut Vec<ServerAction>,
    ) -> Vec<Message> {
        let sequence = self.settings.next_sequence(self.term);
        let setting = Setting { scope, key, value, term: self.term, sequence };
        let mut verdicts = Vec::new();
        self.merge(vec![setting.clone()], &mut verdicts, actions);
        self.pronounce(verdicts, actions);
        vec![ToHolder::Setting { setting }.into()]
    }

    fn set(
        &mut self,
        key: String,
        value: Option<String>,
        expected: Option<Option<String>>,
        actions: &mut Vec<ServerAction>,
    ) -> Vec<Message> {
        if let Err(error) = check_key_and_value(&key, value.as_deref()) {
            return not_done(Fault::Invalid, error);
        }
        if let Some(expected) = expected {
            // A survivor may know a newer value.
            if !self.settled() {
                return not_done(Fault::NotSettled, "");
            }
            let present = self.settings.get(Scope::Program, &key);
            if present != expected.as_deref() {
                return vec![Response::Conflict { present: present.map(str::to_owned) }.into()];
            }
        }
        if !value.as_ref().is_none_or(|value| self.settings.has_room(Scope::Program, &key, value)) {
            return not_done(
                Fault::Full,
                format!(
                    "at most {MAX_SETTINGS} settings, of {} in all",
                    in_bytes(MAX_SETTINGS_BYTES)
                ),
            );
        }
        self.change(Scope::Program, key, value, actions)
    }

    fn setting(&self, key: Option<&str>) -> Vec<Message> {
        // What a survivor knows may be newer.
        if !self.settled() {
            return not_done(Fault::NotSettled, "");
        }
        let asked = |setting: &&Setting| {
            setting.scope == Scope::Program && key.is_none_or(|key| key == setting.key)
        };
        let found: Vec<Message> = self
            .settings
            .present()
            .filter(asked)
            .map(|setting| ToHolder::Setting { setting: setting.clone() }.into())
            .collect();
        let mut answer = vec![Response::Settings { count: found.len() as u32 }.into()];
        answer.extend(found);
        answer
    }

    fn usage(&self, resource: Option<&str>) -> Vec<Message> {
        if !self.settled() {
            return not_done(Fault::NotSettled, "");
        }
        let names: Vec<&str> = match resource {
            Some(name) if !self.ledger.is_known(name) => {
                return not_done(Fault::NoSuchResource, name);
            }
            Some(name) => vec![name],
            None => self.ledger.names().map(String::as_str).collect(),
        };
        let mut answer = vec![Response::Resources { count: names.len() as u32 }.into()];
        for usage in names.iter().filter_map(|name| self.ledger.usage(name)) {
            let mut holders: Vec<(&str, u64)> = usage
                .holders
                .iter()
                .map(|(&holder, &units)| (self.name_of(holder), units))
                .collect();
            holders.sort_unstable();
            answer.push(
                Response::Resource {
                    resource: usage.resource,
                    limit: usage.limit,
                    in_use: usage.in_use,
                    counted: usage.counted,
                    waiting: usage.waiting as u32,
                    holders: holders.len() as u32,
                }
                .into(),
            );
            answer.extend(
                holders
                    .into_iter()
                    .map(|(name, units)| Response::Holder { name: name.into(), units }.into()),
            );
        }
        answer
    }

    fn name_of(&self, conn: ConnId) -> &str {
        if conn == OWN {
            &self.name
        } else {
            self.admitted.get(&conn).map_or("", |member| &member.name)
        }
    }

    /// Returns the connection of the instance with this name, or of the supervisor if the name is
    /// `main`.
    fn conn_of(&self, name: &str) -> Option<ConnId> {
        if name == "main" || name == self.name {
            Some(OWN)
        } else {
            self.connection.get(name).copied()
        }
    }

    fn set_limit(
        &mut self,
        resource: String,
        limit: u64,
        actions: &mut Vec<ServerAction>,
    ) -> Vec<Message> {
        if !self.settled() {
            return not_done(Fault::NotSettled, "");
        }
        if limit > MAX_UNITS {
            return not_done(Fault::Invalid, format!("a limit may be 0 to {MAX_UNITS}"));
        }
        if !self.ledger.is_known(&resource) {
            return not_done(Fault::NoSuchResource, resource);
        }
        let value = limit.to_string();
        if !self.settings.has_room(Scope::Limit, &resource, &value) {
            return not_done(Fault::Full, "as many settings and limits as there may be");
        }
        self.change(Scope::Limit, resource, Some(value), actions)
    }

    fn revoke(
        &mut self,
        resource: &str,
        holder: &str,
        actions: &mut Vec<ServerAction>,
    ) -> Vec<Message> {
        if !self.settled() {
            return not_done(Fault::NotSettled, "");
        }
        if !self.ledger.is_known(resource) {
            return not_done(Fault::NoSuchResource, resource);
        }
        let Some(conn) = self.conn_of(holder) else {
            return not_done(Fault::NoSuchInstance, holder);
        };
        let mut verdicts = Vec::new();
        let count = self.ledger.revoke(resource, conn, &mut verdicts) as u64;
        self.pronounce(verdicts, actions);
        vec![Response::Done { count }.into()]
    }

    /// Passes a message on to one member or to all, ourselves included. A member that has too much
    /// under way misses it.
    fn publish(
        &mut self,
        from: String,
        to: Option<String>,
        topic: String,
        payload: Payload,
        actions: &mut Vec<ServerAction>,
    ) -> Vec<Message> {
        let valid = config::check_word("topic", &topic).and_then(|()| config::check_name(&from));
        if let Err(error) = valid {
            return not_done(Fault::Invalid, error.to_string());
        }
        if payload.0.len() > MAX_MESSAGE {
            return not_done(
                Fault::Invalid,
                format!("a payload of {} bytes; at most {MAX_MESSAGE}", payload.0.len()),
            );
        }
        let (mut conns, to_us): (Vec<ConnId>, bool) = match &to {
            None => (self.admitted.keys().copied().collect(), true),
            Some(name) => match self.conn_of(name) {
                Some(OWN) => (Vec::new(), true),
                Some(conn) => (vec![conn], false),
                None if self.settled() => return not_done(Fault::NoSuchInstance, name),
                None => return not_done(Fault::NotSettled, ""),
            },
        };
        let size = message_size(&from, &topic, &payload.0);
        conns.retain(|conn| {
            let Some(member) = self.admitted.get_mut(conn) else { return false };
            if member.under_way + size > MESSAGE_WINDOW {
                member.missed += 1;
                return false;
            }
            member.under_way += size;
            actions.extend(member.mark_missed(*conn));
            true
        });
        let count = conns.len() as u64 + u64::from(to_us);
        let message = ToHolder::Delivery { from, topic, payload };
        if to_us {
            actions.push(ServerAction::Own { message: message.clone() });
        }
        if !conns.is_empty() {
            actions.push(ServerAction::Tell { conns, message: message.into() });
        }
        vec![Response::Done { count }.into()]
    }
}

impl Admitted {
    /// Tells a member, now that it reads again, how many messages it missed.
    fn mark_missed(&mut self, conn: ConnId) -> Option<ServerAction> {
        let messages = std::mem::take(&mut self.missed);
        (messages > 0)
            .then_some(ServerAction::Send { conn, message: ToHolder::Missed { messages }.into() })
    }
}

#[cfg(test)]
mod tests;
