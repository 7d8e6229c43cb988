//! What subscribers are sent, as bytes that all of them share.
//!
//! The two versions of the protocol write a message alike but for its first byte, so a message is
//! rendered once, without that byte.

use std::sync::Arc;

use slotward_resp::{Protocol, Reply};

/// A message without its first byte.
pub(crate) type Body = Arc<[u8]>;

/// The first byte of a message in this protocol.
pub(crate) const fn head(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Resp2 => b'*',
        Protocol::Resp3 => b'>',
    }
}

/// What a subscription is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A channel.
    Channel,
    /// All channels whose names match a pattern.
    Pattern,
    /// A channel that belongs to a slot, and so to a shard.
    Shard,
}

impl Scope {
    /// All of them; a scope is an index into what is kept for each.
    pub(crate) const ALL: [Scope; 3] = [Scope::Channel, Scope::Pattern, Scope::Shard];

    /// To index with.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// How a subscription is confirmed.
    pub(crate) const fn subscribed(self) -> &'static [u8] {
        match self {
            Scope::Channel => b"subscribe",
            Scope::Pattern => b"psubscribe",
            Scope::Shard => b"ssubscribe",
        }
    }

    /// How the end of a subscription is confirmed.
    pub(crate) const fn unsubscribed(self) -> &'static [u8] {
        match self {
            Scope::Channel => b"unsubscribe",
            Scope::Pattern => b"punsubscribe",
            Scope::Shard => b"sunsubscribe",
        }
    }
}

/// A message on a channel of this scope; of a pattern's subscribers, with the pattern.
pub(crate) fn message(pattern: Option<&[u8]>, scope: Scope, channel: &[u8], text: &[u8]) -> Body {
    let kind: &[u8] = match scope {
        Scope::Channel => b"message",
        Scope::Pattern => b"pmessage",
        Scope::Shard => b"smessage",
    };
    let len = pattern.map_or(0, <[u8]>::len) + channel.len() + text.len();
    render(len, |reply| {
        reply.push(3 + usize::from(pattern.is_some()));
        reply.bulk(kind);
        pattern.into_iter().for_each(|pattern| reply.bulk(pattern));
        reply.bulk(channel);
        reply.bulk(text);
    })
}

/// A shard channel has gone to another node.
pub(crate) fn shard_channel_gone(channel: &[u8], left: usize) -> Body {
    render(channel.len(), |reply| {
        reply.push(3);
        reply.bulk(Scope::Shard.unsubscribed());
        reply.bulk(channel);
        reply.integer(left as i64);
    })
}

/// The channel on which clients without RESP3 hear of changed keys.
pub(crate) const INVALIDATE_CHANNEL: &[u8] = b"__redis__:invalidate";

/// Keys that a client may keep have changed; `None`: all of them.
pub(crate) fn invalidated(protocol: Protocol, keys: Option<&[Box<[u8]>]>) -> Body {
    let len = keys.map_or(0, |keys| keys.iter().map(|key| key.len() + 16).sum());
    let mut reply = Reply::new(Vec::with_capacity(len + 64), protocol);
    match protocol {
        Protocol::Resp2 => {
            reply.push(3);
            reply.bulk(b"message");
            reply.bulk(INVALIDATE_CHANNEL);
        }
        Protocol::Resp3 => {
            reply.push(2);
            reply.bulk(b"invalidate");
        }
    }
    match keys {
        None => reply.null_array(),
        Some(keys) => {
            reply.array(keys.len());
            keys.iter().for_each(|key| reply.bulk(key));
        }
    }
    reply.as_bytes()[1..].into()
}

/// The client to which invalidations were redirected is gone.
pub(crate) fn redirect_broken(client: u64) -> Body {
    render(0, |reply| {
        reply.push(2);
        reply.bulk(b"tracking-redir-broken");
        reply.integer(client as i64);
    })
}

fn render(len: usize, write: impl FnOnce(&mut Reply)) -> Body {
    let mut reply = Reply::new(Vec::with_capacity(len + 96), Protocol::Resp2);
    write(&mut reply);
    reply.as_bytes()[1..].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(protocol: Protocol, body: &Body) -> String {
        let mut bytes = vec![head(protocol)];
        bytes.extend_from_slice(body);
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn messages_are_written_as_clients_expect() {
        let (two, three) = (Protocol::Resp2, Protocol::Resp3);
        let keys: [Box<[u8]>; 1] = [b"k".as_slice().into()];
        let of = |scope, pattern: Option<&str>| {
            message(pattern.map(str::as_bytes), scope, b"news", b"hi")
        };
        for (why, protocol, body, want) in [
            (
                "a message",
                two,
                of(Scope::Channel, None),
                "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n",
            ),
            (
                "by pattern",
                three,
                of(Scope::Pattern, Some("n*")),
                ">4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n",
            ),
            (
                "in a shard",
                two,
                of(Scope::Shard, None),
                "*3\r\n$8\r\nsmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n",
            ),
            (
                "a slot is lost",
                three,
                shard_channel_gone(b"c", 2),
                ">3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:2\r\n",
            ),
            (
                "a changed key",
                three,
                invalidated(three, Some(&keys)),
                ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
            ),
            (
                "all keys, without RESP3",
                two,
                invalidated(two, None),
                "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*-1\r\n",
            ),
            ("all keys", three, invalidated(three, None), ">2\r\n$10\r\ninvalidate\r\n_\r\n"),
            (
                "nobody to redirect to",
                three,
                redirect_broken(7),
                ">2\r\n$21\r\ntracking-redir-broken\r\n:7\r\n",
            ),
        ] {
            assert_eq!(whole(protocol, &body), want, "{why}");
        }
    }
}
