//! The control plane under a seed: the machines of `failover` in a world where everything goes
//! wrong, and the checkers that watch.
//!
//! Owns virtual time, the network, the disks and the clocks of that world, and what is checked at
//! each of its steps. Knows no rule of its own: what a node or a sentinel does is decided by the
//! same code that runs in the product. Never part of the product.
//!
//! **Invariant:** a run follows from its seed alone, so that a failing seed can be shown again.

#[cfg(test)]
mod behaviour;
mod check;
mod faults;
mod history;
mod life;
pub mod moves;
mod random;
mod register;
mod scenarios;
mod world;

pub use faults::Faults;
pub use life::{Report, live, live_caught, plan};
pub use random::Random;
pub use scenarios::{SCENARIOS, Scenario};
pub use world::{Plan, Proc, World};
