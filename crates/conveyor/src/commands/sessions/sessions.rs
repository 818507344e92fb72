//! `sessions`: list registered sessions.

use clap::builder::PossibleValuesParser;
use conveyor_core::sessions;
use conveyor_model::Role;
use conveyor_store::Access;
use conveyor_store::sessions::{Filter, Liveness};

use crate::app::App;
use crate::commands::{DbPath, Group, JsonAlways, Subcommand};
use crate::failure::Failure;

/// Arguments of `sessions`.
#[derive(clap::Args)]
pub struct Sessions {
    /// Only workers, or only managers
    #[arg(long, value_name = "ROLE", value_parser = PossibleValuesParser::new(Role::TEXTS))]
    role: Option<String>,
    /// Which states to show [default: active]
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(["active", "gone", "all"]))]
    state: Option<String>,
    /// Without --state: show sessions of older versions, whose process is unknown, as well
    #[arg(long)]
    include_legacy: bool,
    /// Only this session; give it several times for several sessions
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Hide the identity tokens
    #[arg(long)]
    redact_identity_token: bool,
    #[command(flatten)]
    _json: JsonAlways,
    #[command(flatten)]
    db: DbPath,
}

impl Sessions {
    fn liveness(&self) -> Liveness {
        match (self.state.as_deref(), self.include_legacy) {
            (Some("gone"), _) => Liveness::Gone,
            (Some("all"), _) => Liveness::All,
            (None, true) => Liveness::ActiveOrLegacy,
            _ => Liveness::Active,
        }
    }
}

impl Subcommand for Sessions {
    const NAME: &'static str = "sessions";
    const GROUP: Group = Group::Sessions;
    const ABOUT: &'static str = "List registered sessions";
    const HELP: &'static str = "\
In order of registration, as JSON. The communication object says how a session is reached: messages are typed
into a tmux session (push), every other session fetches them with the poll command (pull).

Example:
  conveyor sessions --path ./ledger.db
  conveyor sessions --role worker --state all --redact-identity-token --path ./ledger.db";

    fn run(self, app: &mut App<'_>) -> Result<(), Failure> {
        let mut cx = app.open(&self.db, Access::Read)?;
        let filter = Filter {
            role: self.role.as_deref().and_then(Role::from_text),
            liveness: self.liveness(),
            names: &self.name,
            unbound: false,
        };
        let mut out = app.out();
        let mut elements = out.json_array();
        sessions::list(&mut cx, &filter, self.redact_identity_token, &mut |session| elements.push(&session))?;
        elements.end()
    }
}
