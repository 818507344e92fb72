//! Pure values of Conveyor: ids, times, enums, state machines and the records that several
//! crates share. Nothing here reads a clock, a file, the environment or a random source; the
//! traits [`Clock`] and [`Ids`] name what the outside must provide.

mod enums;
mod ids;
pub mod json;
mod machine;
pub mod permissions;
pub mod records;
pub mod shell;
pub mod text;
mod time;

pub use enums::*;
pub use ids::{IdPrefix, Ids};
pub use machine::{Machine, Whereabouts};
pub use time::{Clock, Timestamp};
