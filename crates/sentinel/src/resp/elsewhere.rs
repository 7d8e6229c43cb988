//! What a client is shown that reaches nodes and sentinels at another host than they announced, as
//! through the published ports of containers.

use std::borrow::Cow;
use std::sync::Arc;

use crate::control::View;

/// The view with everybody at this host, at the announced ports.
pub(super) fn view(mut view: View, host: &str) -> View {
    view.topology = Arc::new(view.topology.seen_at(host));
    for member in view.group.members.values_mut() {
        for address in [&mut member.resp, &mut member.grpc] {
            if let Some((_, port)) = address.rsplit_once(':') {
                *address = format!("{host}:{port}");
            }
        }
    }
    view
}

/// An event's words with every address of a node or a sentinel at this host. The words do not say
/// which of them are addresses: a host counts if its port follows.
pub(super) fn event(view: &View, host: &str, message: &str) -> String {
    let sentinels = view.group.members.values().map(|member| member.resp.clone());
    let nodes = view.topology.nodes.values().map(|node| format!("{}:{}", node.host, node.port));
    let known: Vec<String> = nodes.chain(sentinels).collect();
    let is_known =
        |at: &str, port: &str| known.iter().any(|known| known.rsplit_once(':') == Some((at, port)));
    let words: Vec<&str> = message.split(' ').collect();
    let mut shown: Vec<Cow<'_, str>> = Vec::with_capacity(words.len());
    for (index, &word) in words.iter().enumerate() {
        let next = words.get(index + 1).copied().unwrap_or_default();
        shown.push(match word.rsplit_once(':') {
            _ if is_known(word, next) => host.into(),
            Some((at, port)) if is_known(at, port) => format!("{host}:{port}").into(),
            _ => word.into(),
        });
    }
    shown.join(" ")
}
