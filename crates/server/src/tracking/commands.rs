//! `CLIENT TRACKING|CACHING|TRACKINGINFO|GETREDIR`.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use slotward_commands::CmdError;

use super::{Caching, Choice};
use crate::call::{NodeCall, Outcome};
use crate::client::mark;
use crate::connection::Conn;
use crate::node::Node;

/// All that tracking marks a client with.
const MARKS: u32 = mark::TRACKING | mark::BROADCAST | mark::NO_LOOP | mark::REDIRECT_BROKEN;

const OTHER_MODE: CmdError = CmdError::text(
    "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
     re-enabling it with a different mode.",
);
const OTHER_CHOICE: CmdError = CmdError::text(
    "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
     re-enabling it with a different mode.",
);

/// What `CLIENT TRACKING` was given.
#[derive(Debug, Default)]
struct Options {
    redirect: u64,
    broadcast: bool,
    no_loop: bool,
    opt_in: bool,
    opt_out: bool,
    prefixes: Vec<Box<[u8]>>,
}

impl Options {
    fn parse(call: &NodeCall<'_>) -> Result<Options, CmdError> {
        let mut options = Options::default();
        let mut at = 3;
        while at < call.argv.len() {
            let has_more = at + 1 < call.argv.len();
            if call.is_word(at, "REDIRECT") && has_more {
                at += 1;
                if options.redirect != 0 {
                    return Err(CmdError::text(
                        "ERR A client can only redirect to a single other client",
                    ));
                }
                let id = call.int(at)?;
                let client = u64::try_from(id).ok().and_then(|id| call.node.clients.get(id));
                options.redirect = client.map(|client| client.id).ok_or(CmdError::text(
                    "ERR The client ID you want redirect to does not exist",
                ))?;
            } else if call.is_word(at, "PREFIX") && has_more {
                at += 1;
                options.prefixes.push(call.arg(at).into());
            } else if call.is_word(at, "BCAST") {
                options.broadcast = true;
            } else if call.is_word(at, "OPTIN") {
                options.opt_in = true;
            } else if call.is_word(at, "OPTOUT") {
                options.opt_out = true;
            } else if call.is_word(at, "NOLOOP") {
                options.no_loop = true;
            } else {
                return Err(CmdError::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }

    fn choice(&self) -> Option<Choice> {
        match (self.opt_in, self.opt_out) {
            (true, _) => Some(Choice::In),
            (_, true) => Some(Choice::Out),
            _ => None,
        }
    }

    /// Whether these go together, and with what the connection does already.
    fn check(&self, conn: &Conn) -> Outcome {
        if !self.broadcast && !self.prefixes.is_empty() {
            return Err(CmdError::text("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        let before = conn.tracked.as_deref();
        if before.is_some() && conn.client.is(mark::BROADCAST) != self.broadcast {
            return Err(OTHER_MODE);
        }
        if self.broadcast && self.choice().is_some() {
            return Err(CmdError::text("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if self.opt_in && self.opt_out {
            return Err(CmdError::text("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        let chosen = before.and_then(|before| before.choice);
        if let (Some(was), Some(is)) = (chosen, self.choice())
            && was != is
        {
            return Err(OTHER_CHOICE);
        }
        self.check_prefixes(before.map(|before| &before.prefixes))
    }

    fn check_prefixes(&self, known: Option<&BTreeSet<Box<[u8]>>>) -> Outcome {
        let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        let collision = |new: &[u8], which: &str, other: &[u8]| {
            let (new, other) = (String::from_utf8_lossy(new), String::from_utf8_lossy(other));
            Err(CmdError::Other(
                format!(
                    "ERR Prefix '{new}' overlaps with {which} '{other}'. Prefixes for a single \
                     client must not overlap."
                )
                .into(),
            ))
        };
        for (at, new) in self.prefixes.iter().enumerate() {
            if let Some(old) = known.into_iter().flatten().find(|old| overlap(new, old)) {
                return collision(new, "an existing prefix", old);
            }
            if let Some(other) = self.prefixes[at + 1..].iter().find(|other| overlap(new, other)) {
                return collision(new, "another provided prefix", other);
            }
        }
        Ok(())
    }
}

/// `CLIENT TRACKING`.
pub(crate) fn tracking(call: &mut NodeCall<'_>) -> Outcome {
    let options = Options::parse(call)?;
    if call.is_word(2, "ON") {
        options.check(call.conn)?;
        call.conn.track(call.node, options);
    } else if call.is_word(2, "OFF") {
        call.conn.untrack(call.node);
    } else {
        return Err(CmdError::Syntax);
    }
    call.reply.ok();
    Ok(())
}

impl Conn {
    fn track(&mut self, node: &Node, options: Options) {
        if self.tracked.is_none() {
            node.tracking.clients.fetch_add(1, Ordering::SeqCst);
        }
        let choice = options.choice();
        let tracked = self.tracked.get_or_insert_default();
        tracked.choice = choice;
        let client = &self.client;
        client.redirect.store(options.redirect, Ordering::Relaxed);
        client.mark(MARKS, false);
        client.mark(mark::TRACKING, true);
        client.mark(mark::BROADCAST, options.broadcast);
        client.mark(mark::NO_LOOP, options.no_loop);
        let mut prefixes = options.prefixes;
        if options.broadcast && prefixes.is_empty() {
            prefixes.push(Box::default());
        }
        for prefix in prefixes {
            node.tracking.add_prefix(node, client.id, &prefix);
            tracked.prefixes.insert(prefix);
        }
        self.listening = true;
    }

    /// Keeps no copies any more.
    pub(crate) fn untrack(&mut self, node: &Node) {
        let Some(tracked) = self.tracked.take() else { return };
        for prefix in &tracked.prefixes {
            node.tracking.remove_prefix(node, self.client.id, prefix);
        }
        self.client.mark(MARKS, false);
        self.client.redirect.store(0, Ordering::Relaxed);
        if node.tracking.clients.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nobody wants to hear of anything.
            let slots = node.tracking.table.slots();
            slots.into_iter().for_each(|slot| super::forget_slot(node, slot));
        }
    }
}

/// `CLIENT CACHING`.
pub(crate) fn caching(call: &mut NodeCall<'_>) -> Outcome {
    let choice = call.conn.tracked.as_deref().and_then(|tracked| tracked.choice);
    let Some(choice) = choice else {
        return Err(CmdError::text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
             or OPTOUT mode enabled",
        ));
    };
    if call.is_word(2, "YES") {
        if choice != Choice::In {
            return Err(CmdError::text(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
    } else if call.is_word(2, "NO") {
        if choice != Choice::Out {
            return Err(CmdError::text(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
    } else {
        return Err(CmdError::Syntax);
    }
    if let Some(tracked) = &mut call.conn.tracked {
        tracked.caching = Caching::Said;
    }
    call.reply.ok();
    Ok(())
}

/// `CLIENT GETREDIR`.
pub(crate) fn getredir(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.integer(call.conn.client.redirection());
    Ok(())
}

/// `CLIENT TRACKINGINFO`.
pub(crate) fn trackinginfo(call: &mut NodeCall<'_>) -> Outcome {
    let client = &call.conn.client;
    let tracked = call.conn.tracked.as_deref();
    let said = tracked.is_some_and(|tracked| tracked.caching != Caching::Unsaid);
    let chosen = |choice| tracked.is_some_and(|tracked| tracked.choice == Some(choice));
    let flags: Vec<&str> = [
        (tracked.is_none(), "off"),
        (tracked.is_some(), "on"),
        (client.is(mark::BROADCAST), "bcast"),
        (chosen(Choice::In), "optin"),
        (chosen(Choice::In) && said, "caching-yes"),
        (chosen(Choice::Out), "optout"),
        (chosen(Choice::Out) && said, "caching-no"),
        (client.is(mark::NO_LOOP), "noloop"),
        (client.is(mark::REDIRECT_BROKEN), "broken_redirect"),
    ]
    .into_iter()
    .filter_map(|(is, name)| is.then_some(name))
    .collect();
    let reply = &mut *call.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(client.redirection());
    reply.bulk(b"prefixes");
    let prefixes = tracked.map(|tracked| &tracked.prefixes);
    reply.array(prefixes.map_or(0, BTreeSet::len));
    prefixes.into_iter().flatten().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
