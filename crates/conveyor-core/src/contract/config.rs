//! The manager configuration of a task: how it is supervised and what the manager may ask for.

use conveyor_model::permissions::{self, Overrides, Permissions};
use conveyor_model::records::{Object, Task};
use conveyor_model::text::{is_blank, trimmed};
use conveyor_model::{Actor, EpilogueStep, NudgeMode, SupervisionMode};
use conveyor_store::audit::{self, AuditEvent};
use conveyor_store::manager_configs::{self, ManagerConfig};
use conveyor_store::telemetry::{self, Emit};
use conveyor_store::{StoreError, Tx};
use serde::Serialize;
use serde_json::{Value, json};

use super::{criteria, recipes};
use crate::{Cx, Error, Result, reference};

/// The word for a configuration that follows no recipe.
pub const CUSTOM: &str = "custom";

/// What is to be changed of a configuration; what is absent stays as it is. Lists replace lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigFlags {
    /// How structured the supervision is.
    pub mode: Option<SupervisionMode>,
    /// The name of a recipe, or `custom` for none.
    pub recipe: Option<String>,
    /// What the manager works towards.
    pub objective: Option<String>,
    /// What limits nudging.
    pub guidelines: Option<Vec<String>>,
    /// What the manager checks regularly.
    pub acceptance: Option<Vec<String>>,
    /// Plans, issues, files.
    pub references: Option<Vec<String>>,
    /// Which verification and context tools are expected.
    pub tools: Option<Vec<String>>,
    /// Which steps must run before the task is finished.
    pub epilogues: Option<Vec<String>>,
    /// What happens when a completed turn brings proposals.
    pub nudge_on_completion: Option<NudgeMode>,
    /// Observe only once both sides acknowledged. No option says no; a person who is asked can.
    pub require_acks: Option<bool>,
    /// Let the gates of `finish-task` hold without being asked for.
    pub enforce_gates: bool,
    /// Grant the opening of pull requests.
    pub allow_pr: bool,
    /// Grant the merging of green pull requests.
    pub allow_merge_green: bool,
    /// Grant compacting and clearing of the worker's context.
    pub allow_worker_compact_clear: bool,
    /// Permissions and aliases to grant.
    pub permits: Vec<String>,
    /// Overrides of permissions, applied last.
    pub permissions: Option<Overrides>,
}

impl ConfigFlags {
    /// A list as a repeatable option gives it: absent when it was not given at all.
    #[must_use]
    pub fn list(given: Vec<String>) -> Option<Vec<String>> {
        (!given.is_empty()).then_some(given)
    }

    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks everything that can be checked without a ledger.
    ///
    /// # Errors
    /// An unknown recipe or closing step.
    pub fn check(&self) -> Result<()> {
        if let Some(recipe) = &self.recipe {
            recipe_of(recipe)?;
        }
        match self.epilogues.as_deref().map(cleaned) {
            Some(steps) => steps.iter().try_for_each(|step| check_step(step)),
            None => Ok(()),
        }
    }

    /// The permissions granted by these flags on top of what is granted already.
    fn permissions(&self, granted: &Object) -> Permissions {
        let mut permissions = Permissions::from_stored(granted);
        let switches = [
            (self.allow_pr, "allow_pr"),
            (self.allow_merge_green, "allow_merge_green"),
            (self.allow_worker_compact_clear, "allow_worker_compact_clear"),
        ];
        for (_, name) in switches.iter().filter(|(given, _)| *given) {
            permissions.grant(name);
        }
        for name in &self.permits {
            permissions.grant(name);
        }
        if let Some(overrides) = &self.permissions {
            permissions.override_with(overrides);
        }
        permissions
    }

    /// What is passed over because it means nothing.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.permissions.as_ref().map(permissions::complaints).unwrap_or_default();
        let unknown = self.permits.iter().filter(|name| permissions::unknown_part(name).is_some());
        warnings.extend(unknown.map(|name| format!("unknown permission {name}")));
        warnings
    }

    fn count(list: &Option<Vec<String>>) -> usize {
        list.as_ref().map_or(0, Vec::len)
    }
}

/// The recipe that a name means; `None` for `custom`.
fn recipe_of(name: &str) -> Result<Option<&'static recipes::Recipe>> {
    if trimmed(name).eq_ignore_ascii_case(CUSTOM) {
        return Ok(None);
    }
    match recipes::find(name) {
        Some(recipe) => Ok(Some(recipe)),
        None => Err(recipes::unknown(name, &[CUSTOM])),
    }
}

fn check_step(step: &str) -> Result<()> {
    if EpilogueStep::from_text(step).is_some() {
        return Ok(());
    }
    let known = EpilogueStep::TEXTS.join(", ");
    Err(Error::invalid(format!("unknown epilogue step: {step}; expected one of: {known}")))
}

/// A list without white space around its entries, empty entries and repetitions, in its order.
fn cleaned(list: &[String]) -> Vec<String> {
    let mut clean: Vec<String> = Vec::new();
    for entry in list.iter().map(|entry| trimmed(entry)).filter(|entry| !is_blank(entry)) {
        if clean.iter().all(|known| known != entry) {
            clean.push(entry.to_owned());
        }
    }
    clean
}

/// A configuration as it is printed.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are the columns of the table")]
pub struct Configured {
    pub acceptance_criteria: Vec<String>,
    pub created_at: String,
    pub enforce_gates: bool,
    pub epilogues: Vec<String>,
    pub guidelines: Vec<String>,
    pub nudge_on_completion: String,
    pub objective: Option<String>,
    pub permissions: Object,
    pub recipe_name: Option<String>,
    pub reference_paths: Vec<String>,
    pub require_acks: bool,
    pub revision: i64,
    pub supervision_mode: String,
    pub task_id: String,
    pub tools: Vec<String>,
    pub updated_at: String,
    /// Permissions that mean nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Configured {
    fn new(contract: Contract, warnings: Vec<String>) -> Self {
        let Contract { config, enforce_gates } = contract;
        Self {
            acceptance_criteria: config.acceptance_criteria,
            created_at: config.created_at,
            enforce_gates,
            epilogues: config.epilogues,
            guidelines: config.guidelines,
            nudge_on_completion: config.nudge_on_completion,
            objective: config.objective,
            permissions: config.permissions,
            recipe_name: config.recipe_name,
            reference_paths: config.reference_paths,
            require_acks: config.require_acks,
            revision: config.revision,
            supervision_mode: config.supervision_mode,
            task_id: config.task_id,
            tools: config.tools,
            updated_at: config.updated_at,
            warnings,
        }
    }
}

/// A configuration with what we add to it.
#[derive(Clone, Debug, PartialEq)]
struct Contract {
    config: ManagerConfig,
    enforce_gates: bool,
}

impl Contract {
    fn of_task(tx: &mut Tx<'_>, task: &Task) -> Result<Option<Self>> {
        let Some(config) = manager_configs::of_task(tx, &task.id)? else { return Ok(None) };
        Ok(Some(Self { config, enforce_gates: manager_configs::enforces_gates(tx, &task.id)? }))
    }
}

/// The configuration that a task has, or would get first, with what `flags` say about it. Nothing is
/// written.
///
/// # Errors
/// An unknown task, recipe or closing step; a failing ledger.
pub fn draft(cx: &mut Cx, task: &str, flags: &ConfigFlags) -> Result<(Task, ManagerConfig)> {
    flags.check()?;
    cx.db.read(|tx| {
        let task = reference::task(tx, task)?;
        let present = Contract::of_task(tx, &task)?;
        let contract = changed(present.as_ref(), &task.id, flags, "")?;
        Ok((task, contract.config))
    })
}

/// Changes the configuration of a task, or shows it when there is nothing to change. A task without
/// one gets it.
///
/// # Errors
/// An unknown task, recipe or closing step; a failing ledger. Nothing is written then.
pub fn configure(cx: &mut Cx, task: &str, flags: &ConfigFlags) -> Result<Configured> {
    flags.check()?;
    cx.db.write(|tx| {
        let task = reference::held_task(tx, task)?;
        let present = Contract::of_task(tx, &task)?;
        if let Some(present) = present.as_ref().filter(|_| flags.is_empty()) {
            return Ok(Configured::new(present.clone(), Vec::new()));
        }
        let contract = save(tx, &task, present.as_ref(), flags, None)?;
        let (config, warnings) = (&contract.config, flags.warnings());
        let mut payload = counts(config, flags);
        for (key, value) in [
            ("epilogue_count", json!(config.epilogues.len())),
            ("permission_warnings", json!(warnings)),
            ("require_acks", json!(config.require_acks)),
            ("tool_count", json!(config.tools.len())),
        ] {
            payload.insert(key.to_owned(), value);
        }
        record(tx, &task, payload)?;
        Ok(Configured::new(contract, warnings))
    })
}

/// What `pair` has made of a task's contract.
#[derive(Clone, Debug)]
pub struct Seeded {
    /// Whether the configuration was written now; otherwise the one that was there is kept.
    pub written: bool,
    /// How many criteria of its acceptance list are new.
    pub criteria: usize,
}

/// Writes the configuration that `pair` was asked for, or the default one where the task has none,
/// and makes criteria of its acceptance list. `correlation` is what ties the telemetry of `pair`
/// together. Call [`ConfigFlags::check`] before anything is created.
///
/// # Errors
/// An unknown recipe or closing step; a failing ledger.
pub fn seed(tx: &mut Tx<'_>, task: &Task, flags: &ConfigFlags, correlation: &Value) -> Result<Seeded> {
    flags.check()?;
    conveyor_store::tasks::lock(tx, &task.id)?;
    let present = Contract::of_task(tx, task)?;
    let (Contract { config, .. }, written) = match present {
        Some(present) if flags.is_empty() => (present, false),
        present => (save(tx, task, present.as_ref(), flags, Some(CUSTOM))?, true),
    };
    if written {
        let facts = counts(&config, flags);
        let mut payload = facts.clone();
        payload.insert("source".to_owned(), "pair".into());
        record(tx, task, payload)?;
        let summary = "Wrote the manager configuration.".to_owned();
        let event = Emit::info(
            Actor::Workerctl,
            "pair_manager_config_seeded",
            summary,
            correlation.clone(),
            Value::Object(facts),
        );
        telemetry::emit(tx, &event.of_task(Some(&task.id)).in_whole_seconds())?;
    }
    let criteria = criteria::seed(tx, task, &config.acceptance_criteria)?;
    Ok(Seeded { written, criteria })
}

/// What both records of a change have in common.
fn counts(config: &ManagerConfig, flags: &ConfigFlags) -> Object {
    let pairs = [
        ("acceptance_count", json!(ConfigFlags::count(&flags.acceptance))),
        ("guideline_count", json!(ConfigFlags::count(&flags.guidelines))),
        ("nudge_on_completion", json!(config.nudge_on_completion)),
        ("reference_count", json!(ConfigFlags::count(&flags.references))),
        ("supervision_mode", json!(config.supervision_mode)),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn record(tx: &mut Tx<'_>, task: &Task, payload: Object) -> Result<()> {
    let event = AuditEvent {
        event_type: "manager_config_recorded",
        task_id: Some(&task.id),
        command_id: None,
        payload: Value::Object(payload),
    };
    Ok(audit::record(tx, &event)?)
}

/// Writes the changed configuration of a task that is held. `unnamed` is the recipe name of a first
/// one that follows no recipe.
fn save(
    tx: &mut Tx<'_>,
    task: &Task,
    present: Option<&Contract>,
    flags: &ConfigFlags,
    unnamed: Option<&str>,
) -> Result<Contract> {
    let now = tx.now()?.to_s_text();
    let mut contract = changed(present, &task.id, flags, &now)?;
    if present.is_none() && flags.recipe.is_none() {
        contract.config.recipe_name = unnamed.map(ToOwned::to_owned);
    }
    manager_configs::save(tx, &contract.config, contract.enforce_gates)?;
    let saved = Contract::of_task(tx, task)?;
    saved.ok_or(Error::Store(StoreError::Sql("a manager configuration vanished".into())))
}

/// The configuration with the changes, its revision counted up if there are any.
fn changed(present: Option<&Contract>, task_id: &str, flags: &ConfigFlags, now: &str) -> Result<Contract> {
    let mut contract = present.cloned().unwrap_or_else(|| first(task_id, now));
    let Contract { config, enforce_gates } = &mut contract;
    if let Some(name) = &flags.recipe {
        let recipe = recipe_of(name)?;
        config.recipe_name = recipe.map(|recipe| recipe.name.to_owned());
        *enforce_gates |= recipe.is_some_and(|recipe| recipe.mode == SupervisionMode::Strict);
    }
    if let Some(mode) = flags.mode {
        config.supervision_mode = mode.as_str().to_owned();
    }
    if let Some(objective) = &flags.objective {
        config.objective = Some(objective.clone());
    }
    if let Some(mode) = flags.nudge_on_completion {
        config.nudge_on_completion = mode.as_str().to_owned();
    }
    config.require_acks = flags.require_acks.unwrap_or(config.require_acks);
    *enforce_gates |= flags.enforce_gates;
    for (list, given) in [
        (&mut config.guidelines, &flags.guidelines),
        (&mut config.acceptance_criteria, &flags.acceptance),
        (&mut config.reference_paths, &flags.references),
        (&mut config.tools, &flags.tools.as_deref().map(cleaned)),
        (&mut config.epilogues, &flags.epilogues.as_deref().map(cleaned)),
    ] {
        if let Some(given) = given {
            list.clone_from(given);
        }
    }
    config.permissions = flags.permissions(&config.permissions).to_stored();
    if let Some(present) = present {
        let changes = i64::from(contract != *present);
        contract.config.revision += changes;
        now.clone_into(&mut contract.config.updated_at);
    }
    Ok(contract)
}

/// What a task's configuration is when nothing is said about it.
fn first(task_id: &str, now: &str) -> Contract {
    let config = ManagerConfig {
        acceptance_criteria: Vec::new(),
        created_at: now.to_owned(),
        epilogues: Vec::new(),
        guidelines: Vec::new(),
        nudge_on_completion: NudgeMode::AskOperator.as_str().to_owned(),
        objective: None,
        permissions: Permissions::default().to_stored(),
        recipe_name: None,
        reference_paths: Vec::new(),
        require_acks: false,
        revision: 1,
        supervision_mode: SupervisionMode::Guided.as_str().to_owned(),
        task_id: task_id.to_owned(),
        tools: Vec::new(),
        updated_at: now.to_owned(),
    };
    Contract { config, enforce_gates: false }
}
