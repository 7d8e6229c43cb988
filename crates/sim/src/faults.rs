//! What can go wrong by itself while a world runs.

use crate::random::Random;
use crate::world::MS;

/// Probabilities in per mille, times in microseconds.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// A message is lost: on a connection it is sent again later, elsewhere it is gone.
    pub(crate) loss: u64,
    /// Elsewhere than on connections: a message arrives twice.
    pub(crate) twice: u64,
    /// Most messages take less than this.
    pub(crate) delay_max: u64,
    /// Some take up to three seconds, longer than every timeout.
    pub(crate) long_delay: u64,
    /// A write to disk takes less than this.
    pub(crate) disk_max: u64,
    /// The leader of the group changes without need, looked at every ten milliseconds.
    pub(crate) whim: u64,
    /// An established connection ends without need: a router forgot it.
    pub(crate) reset: u64,
    /// Messages on the streams to the sentinels are treated as if each travelled alone.
    pub(crate) datagrams: bool,
    /// A process stands still for a while, in the middle of anything.
    pub(crate) stutter: u64,
}

impl Faults {
    /// A quiet local network.
    pub fn none() -> Faults {
        Faults { delay_max: MS, disk_max: 2 * MS, ..Faults::default() }
    }

    /// Faults of this seed.
    pub fn of(random: &mut Random) -> Faults {
        Faults {
            loss: random.one_of(&[0, 3, 30]),
            twice: random.one_of(&[0, 20]),
            delay_max: random.one_of(&[MS, 20 * MS, 120 * MS]),
            long_delay: random.one_of(&[0, 0, 3, 10]),
            disk_max: random.one_of(&[2 * MS, 60 * MS]),
            whim: random.one_of(&[0, 0, 3]),
            reset: random.one_of(&[0, 0, 1]),
            datagrams: random.chance(150),
            stutter: random.one_of(&[0, 0, 2]),
        }
    }
}
