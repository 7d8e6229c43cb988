//! What `CLUSTER NODES` says, read.

/// One line of `CLUSTER NODES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeLine {
    /// The node's id.
    pub(crate) id: String,
    /// Where it serves: host and port.
    pub(crate) address: String,
    /// Its flags.
    pub(crate) flags: Vec<String>,
    /// The id of the master that it follows.
    pub(crate) master: Option<String>,
    /// The slots that it owns, as first and last.
    pub(crate) slots: Vec<(u16, u16)>,
}

impl NodeLine {
    /// Whether it has this flag.
    pub(crate) fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }
}

/// Reads the whole reply; lines in another form are passed over.
pub(crate) fn parse(text: &str) -> Vec<NodeLine> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<NodeLine> {
    let mut words = line.split(' ');
    let id = words.next()?.to_owned();
    let address = words.next()?.split(['@', ',']).next()?.to_owned();
    let flags = words.next()?.split(',').map(str::to_owned).collect();
    let master = words.next().filter(|&id| id != "-").map(str::to_owned);
    // Ping, pong, epoch and link state stand before the slots.
    let slots = words.skip(4).filter_map(parse_range).collect();
    Some(NodeLine { id, address, flags, master, slots })
}

fn parse_range(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "aa 127.0.0.1:7000@17000,host myself,master - 0 0 1 connected 0-5460 9000\n\
                    bb 127.0.0.1:7001@17001 slave aa 0 0 1 connected\n\
                    nonsense\n";
        let nodes = parse(text);
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].slots, [(0, 5460), (9000, 9000)]);
        assert_eq!(nodes[0].address, "127.0.0.1:7000");
        assert!(nodes[0].is("master") && nodes[0].is("myself"));
        assert_eq!(nodes[1].master.as_deref(), Some("aa"));
    }
}
