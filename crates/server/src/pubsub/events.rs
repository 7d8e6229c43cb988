//! Keyspace events: what happened to keys, published on channels named after keys and events.

use slotward_commands::{EventClass, Removal};
use slotward_config::Settings;
use slotward_keyspace::{DbIndex, Noted, Notes};

use super::Scope;
use crate::node::Node;

/// The classes that are published under these settings; none if there is no channel to publish on.
pub(crate) fn classes(settings: &Settings) -> EventClass {
    let wanted = settings.notify_keyspace_events;
    let letters: String =
        EventClass::letters().filter(|letter| wanted.has(*letter as u8)).collect();
    let classes = EventClass::from_letters(&letters).expect("they are the classes' own letters");
    if classes.intersects(EventClass::KEYSPACE.and(EventClass::KEYEVENT)) {
        classes
    } else {
        EventClass::NONE
    }
}

/// Publishes an event of a key, if its class is among those wanted. To be called while the key's slot
/// is held, so that events come in the order of effects.
pub(crate) fn notify(
    node: &Node,
    wanted: EventClass,
    (class, name): (EventClass, &str),
    db: DbIndex,
    key: &[u8],
) {
    if !wanted.intersects(class) || !node.pubsub.has_subscribers() {
        return;
    }
    let publish = |kind: &str, of: &[u8], text: &[u8]| {
        let mut channel = Vec::with_capacity(of.len() + 24);
        channel.extend_from_slice(format!("__{kind}@{}__:", db.0).as_bytes());
        channel.extend_from_slice(of);
        node.pubsub.publish(Scope::Channel, &channel, text, || ());
    };
    if wanted.intersects(EventClass::KEYSPACE) {
        publish("keyspace", key, name.as_bytes());
    }
    if wanted.intersects(EventClass::KEYEVENT) {
        publish("keyevent", name.as_bytes(), key);
    }
}

/// Publishes the events of what time has removed.
pub(crate) fn notify_removal(node: &Node, wanted: EventClass, removal: &Removal) {
    for event in removal.events() {
        notify(node, wanted, *event, removal.db, removal.key());
    }
}

/// Publishes the events of what a view has noted. `reads`: misses count.
pub(crate) fn notify_notes(node: &Node, wanted: EventClass, notes: Notes, reads: bool) {
    let mut last_missed: Option<Box<[u8]>> = None;
    for (noted, db, key) in notes {
        let event = match noted {
            Noted::Missed if !reads || last_missed.as_ref() == Some(&key) => continue,
            Noted::Missed => (EventClass::KEY_MISS, "keymiss"),
            Noted::Added => (EventClass::NEW, "new"),
            Noted::Overwritten => (EventClass::OVERWRITTEN, "overwritten"),
            Noted::Retyped => (EventClass::TYPE_CHANGED, "type_changed"),
        };
        notify(node, wanted, event, db, &key);
        // A command that looks twice has missed the key once.
        last_missed = (noted == Noted::Missed).then_some(key);
    }
}
