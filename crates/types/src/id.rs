//! Who and which version: node ids, replication ids, incarnations, epochs, offsets.

use std::fmt;
use std::str::FromStr;

/// Text that is not 40 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of 40 hexadecimal digits")]
pub struct InvalidHexId;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name([u8; 20]);

        impl $name {
            /// The id made of these bytes (random ones, when it is a new id).
            pub const fn from_bytes(bytes: [u8; 20]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; 20] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = InvalidHexId;

            fn from_str(text: &str) -> Result<Self, InvalidHexId> {
                if text.len() != 40 || !text.is_ascii() {
                    return Err(InvalidHexId);
                }
                let mut bytes = [0; 20];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let high = char::from(pair[0]).to_digit(16).ok_or(InvalidHexId)?;
                    let low = char::from(pair[1]).to_digit(16).ok_or(InvalidHexId)?;
                    *byte = (high * 16 + low) as u8;
                }
                Ok(Self(bytes))
            }
        }
    };
}

hex_id! {
    /// A node's name for life: 160 random bits, shown as 40 hexadecimal digits. Identity is never
    /// an address.
    NodeId
}

hex_id! {
    /// Names one history of writes (Redis's `master_replid`).
    ReplId
}

/// One run of a node's process. Raised at every start, so (node, incarnation) never names two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Incarnation(pub u64);

/// A shard's epoch: raised whenever its master changes or is confirmed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A position in a shard's replication stream: how many bytes came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ReplOffset(pub u64);

impl fmt::Display for ReplOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_prints() {
        let id = NodeId::from_bytes(*b"0123456789abcdefghij");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("0123".parse::<NodeId>(), Err(InvalidHexId), "too short");
        assert_eq!("g".repeat(40).parse::<NodeId>(), Err(InvalidHexId), "not hexadecimal");
    }
}
