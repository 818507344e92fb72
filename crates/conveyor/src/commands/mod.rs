//! The command table. To add a command, write its file and name it in [`COMMANDS`]: help groups,
//! completions, man pages and the reference come from there.

pub mod admin;
pub mod agents;
pub mod app_loop;
pub mod contract;
pub mod legacy;
pub mod observe;
pub mod queue;
pub mod sessions;
pub mod tasks;
pub mod terminals;
pub mod transcripts;
pub mod typing;

use crate::app::App;
use crate::failure::Failure;
pub use crate::grammar::Foreign;

/// Every command, in the order of the help.
pub const COMMANDS: &[CommandSpec] = &[
    spec::<tasks::tasks::Tasks>(),
    spec::<tasks::bind::Bind>(),
    spec::<tasks::unbind::Unbind>(),
    spec::<tasks::create_disposable_binding::CreateDisposableBinding>(),
    spec::<tasks::finish_task::FinishTask>(),
    spec::<tasks::stop_task::StopTask>(),
    spec::<tasks::reconcile::Reconcile>(),
    spec::<agents::pair::Pair>(),
    spec::<agents::start::StartWorker>(),
    spec::<agents::start::StartManager>(),
    spec::<sessions::register::RegisterWorker>(),
    spec::<sessions::register::RegisterManager>(),
    spec::<sessions::sessions::Sessions>(),
    spec::<sessions::deregister::Deregister>(),
    spec::<sessions::discover::Discover>(),
    spec::<sessions::ingest::Ingest>(),
    spec::<sessions::tail::Tail>(),
    spec::<contract::manager_config::ManagerConfig>(),
    spec::<contract::manager_recipes::ManagerRecipes>(),
    spec::<contract::manager_permission::ManagerPermission>(),
    spec::<contract::criteria::Criteria>(),
    spec::<contract::criteria_plan::CriteriaPlan>(),
    spec::<contract::record_decision::RecordDecision>(),
    spec::<contract::handoff::Handoff>(),
    spec::<contract::compact::RequestWorkerCompact>(),
    spec::<contract::compact::CompactWorker>(),
    spec::<contract::acknowledge::WorkerAck>(),
    spec::<contract::acknowledge::ManagerAck>(),
    spec::<contract::continuation::Continuation>(),
    spec::<contract::continuation_reviewer::ContinuationReviewer>(),
    spec::<contract::epilogue::Epilogue>(),
    spec::<observe::cycle::Cycle>(),
    spec::<observe::divergences::Divergences>(),
    spec::<observe::mutation_audit::MutationAudit>(),
    spec::<transcripts::capture::TranscriptCapture>(),
    spec::<transcripts::show::TranscriptShow>(),
    spec::<transcripts::prune::TranscriptPrune>(),
    spec::<terminals::capture::Capture>(),
    spec::<terminals::idle_check::IdleCheck>(),
    spec::<terminals::classify::Classify>(),
    spec::<terminals::open::Open>(),
    spec::<terminals::open::OpenWorker>(),
    spec::<terminals::open::OpenManager>(),
    spec::<typing::session_nudge::SessionNudge>(),
    spec::<typing::session_interrupt::SessionInterrupt>(),
    spec::<typing::nudge::Nudge>(),
    spec::<typing::interrupt::Interrupt>(),
    spec::<queue::enqueue::EnqueueNudgeWorker>(),
    spec::<queue::enqueue::EnqueueNotifyManager>(),
    spec::<queue::commands::Commands>(),
    spec::<queue::dispatch::Dispatch>(),
    spec::<queue::session_inbox::SessionInbox>(),
    spec::<queue::manager_inbox::ManagerInbox>(),
    spec::<queue::worker_inbox::WorkerInbox>(),
    spec::<app_loop::app_heartbeat::AppHeartbeat>(),
    spec::<app_loop::app_loop_status::AppLoopStatus>(),
    spec::<app_loop::app_wakeup_plan::AppWakeupPlan>(),
    spec::<app_loop::app_wakeup_dispatch::AppWakeupDispatch>(),
    spec::<app_loop::app_wakeup_record_delivery::AppWakeupRecordDelivery>(),
    spec::<legacy::list::List>(),
    spec::<legacy::status::Status>(),
    spec::<legacy::update_status::UpdateStatus>(),
    spec::<legacy::events::Events>(),
    spec::<legacy::create::Create>(),
    spec::<legacy::create::StartTest>(),
    spec::<legacy::start::Start>(),
    spec::<legacy::stop::Stop>(),
    spec::<legacy::import_compat::ImportCompat>(),
    spec::<admin::doctor::Doctor>(),
    spec::<admin::doctor::DoctorSelf>(),
    spec::<admin::db_doctor::DbDoctor>(),
    spec::<admin::install_skills::InstallSkills>(),
    spec::<admin::completions::Completions>(),
    spec::<admin::man_pages::ManPages>(),
];

/// Where a command stands in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Tasks and who works on them.
    Tasks,
    /// Starting agents.
    Agents,
    /// Registered sessions and what they wrote.
    Sessions,
    /// Rules, criteria, decisions and declarations of a task.
    Contract,
    /// Looking at a task's worker on behalf of its manager.
    Observing,
    /// What the terminals of a task showed.
    Transcripts,
    /// Looking at the terminals of workers and sessions.
    Terminals,
    /// Texts and keys for terminals.
    Typing,
    /// Messages, the dispatcher and inboxes.
    Queue,
    /// Agents that live in an app: leases and wake-ups.
    AppLoop,
    /// Workers in directories of the state root.
    Legacy,
    /// The ledger itself and the shell.
    Admin,
}

impl Group {
    /// Every group, in the order of the help.
    pub const ALL: &'static [Self] = &[
        Self::Tasks,
        Self::Agents,
        Self::Sessions,
        Self::Contract,
        Self::Observing,
        Self::Transcripts,
        Self::Terminals,
        Self::Typing,
        Self::Queue,
        Self::AppLoop,
        Self::Legacy,
        Self::Admin,
    ];

    /// The heading in the help.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Tasks => "Tasks and bindings",
            Self::Agents => "Starting agents",
            Self::Sessions => "Sessions",
            Self::Contract => "Supervision contract",
            Self::Observing => "Observing a worker",
            Self::Transcripts => "Transcripts of terminals",
            Self::Terminals => "Observing terminals",
            Self::Typing => "Writing to terminals",
            Self::Queue => "Messages: queue, dispatcher, inboxes",
            Self::AppLoop => "App loops: heartbeats and wake-ups",
            Self::Legacy => "Workers of the state root",
            Self::Admin => "Ledger and shell",
        }
    }
}

/// One command: arguments to operation to output.
pub trait Subcommand: clap::Args {
    /// What the user types.
    const NAME: &'static str;
    /// Other names for the same.
    const ALIASES: &'static [&'static str] = &[];
    /// Where it stands in the help.
    const GROUP: Group;
    /// What it does: imperative, one line, no full stop.
    const ABOUT: &'static str;
    /// What a newcomer must know, and at least one complete example.
    const HELP: &'static str;
    /// What it hands on to another program, if it does: then its last positional takes that.
    const FOREIGN: Option<Foreign> = None;

    /// Runs it.
    ///
    /// # Errors
    /// Whatever makes it fail.
    fn run(self, app: &mut App<'_>) -> Result<(), Failure>;
}

/// A row of the command table.
pub struct CommandSpec {
    /// What the user types.
    pub name: &'static str,
    /// Other names for the same.
    pub aliases: &'static [&'static str],
    /// Where it stands in the help.
    pub group: Group,
    /// What it does, in one line.
    pub about: &'static str,
    /// What a newcomer must know, with an example.
    pub help: &'static str,
    pub(crate) foreign: Option<Foreign>,
    pub(crate) args: fn(clap::Command) -> clap::Command,
    pub(crate) run: fn(&clap::ArgMatches, &mut App<'_>) -> Result<(), Failure>,
}

impl CommandSpec {
    /// The name and its aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

const fn spec<C: Subcommand>() -> CommandSpec {
    CommandSpec {
        name: C::NAME,
        aliases: C::ALIASES,
        group: C::GROUP,
        about: C::ABOUT,
        help: C::HELP,
        foreign: C::FOREIGN,
        args: C::augment_args,
        run: |matches, app| {
            let command = C::from_arg_matches(matches).map_err(|error| Failure::usage(error.to_string()))?;
            command.run(app)
        },
    }
}

/// The command with this name or alias.
#[must_use]
pub fn find(name: &str) -> Option<&'static CommandSpec> {
    COMMANDS.iter().find(|spec| spec.names().any(|known| known == name))
}

/// Which ledger: shared by every command that touches it.
#[derive(clap::Args)]
pub struct DbPath {
    /// The ledger: a file, or a postgres:// URL [default: $CONVEYOR_DATABASE_URL, else
    /// workerctl.db in the state root]
    #[arg(long, value_name = "FILE|URL", help_heading = "Common options")]
    pub path: Option<String>,
}

/// `--json` on a command that has a text form.
#[derive(clap::Args)]
pub struct JsonFlag {
    /// Print JSON instead of text
    #[arg(long, help_heading = "Common options")]
    pub json: bool,
}

/// `--json` on a command whose output is JSON anyway: accepted, without effect.
#[derive(clap::Args)]
pub struct JsonAlways {
    /// Accepted; the output is JSON anyway
    #[arg(long = "json", help_heading = "Common options")]
    _json: bool,
}
