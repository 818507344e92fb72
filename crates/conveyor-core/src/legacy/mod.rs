//! Legacy workers: directories below the state root, from the time before sessions were
//! registered. Their files stay as readable as they were.

mod config;
mod create;
mod events;
mod files;
mod import;
mod launch;
mod list;
mod place;
mod start;
mod status;

pub use config::Config;
pub(crate) use config::tmux_session_of;
pub(crate) use create::record_end;
pub use create::{Contract, Created, Request as CreateRequest, Startup, Verification, create};
pub use events::{Selection, each_event};
pub use files::{append_event, check_name, read_object, write_object, write_text};
pub use import::{Action, Import, Request as ImportRequest, WorkerImport, import};
pub use launch::Surroundings;
pub(crate) use list::worker_directories;
pub use list::{Listed, list};
pub use place::Place;
pub use start::{Request as StartRequest, Started, start};
pub(crate) use status::taken;
pub use status::{Latest, Report as StatusReport, Update, latest, update};
