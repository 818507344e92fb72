//! `import-compat`: copy the files of workers into the ledger.

use conveyor_core::legacy::{self, ImportRequest};
use conveyor_store::Access;

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `import-compat`.
#[derive(clap::Args)]
pub struct ImportCompat {
    /// The directory whose sub-directories are workers [default: the state root]
    #[arg(long, value_name = "DIR")]
    root: Option<String>,
    /// Only this worker
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// Write; without it the report only says what would be done
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Subcommand for ImportCompat {
    const NAME: &'static str = "import-compat";
    const GROUP: Group = Group::Legacy;
    const ABOUT: &'static str = "Copy the files of the state root's workers into the ledger";
    const HELP: &'static str = "\
Configuration, status, last transcript and event log of every worker; each content is copied once, however often
this runs. The files stay as they are. Look at the report first, then give --apply.

Example:
  conveyor import-compat --path ./ledger.db
  conveyor import-compat --root ./old-workers --worker worker-1 --apply --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let root = self.root.as_deref().map_or_else(|| app.state_root(), |root| app.absolute(root))?;
        let request = ImportRequest { root: &root, worker: self.worker.as_deref(), apply: self.apply };
        // A wrong name is refused before anything is opened.
        request.check()?;
        let mut cx = app.open(&self.db, Access::Write)?;
        let report = legacy::import(&mut cx, &request)?;
        app.out().json(&report)
    }
}
