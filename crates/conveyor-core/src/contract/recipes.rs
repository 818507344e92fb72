//! The catalogue of supervision recipes: named contracts that a conversation can settle on.

use conveyor_model::SupervisionMode;
use conveyor_model::SupervisionMode::{Guided, Strict};
use serde::Serialize;

use crate::{Error, Result};

/// A named supervision contract.
#[derive(Debug)]
pub struct Recipe {
    /// Its slug.
    pub name: &'static str,
    /// How structured the supervision is.
    pub mode: SupervisionMode,
    display_name: &'static str,
    aliases: &'static [&'static str],
    loop_template: Option<&'static str>,
    description: &'static str,
    objective: &'static str,
    permissions: &'static [&'static str],
    tools: &'static [&'static str],
    epilogues: &'static [&'static str],
    guidelines: &'static [&'static str],
    acceptance: &'static [&'static str],
    evidence_gates: &'static [&'static str],
    disallowed_actions: &'static [&'static str],
    cleanup: &'static str,
}

/// What goes well with every recipe.
const SUPPORT_PATTERNS: &[&str] = &["Inbox / No-Tmux App Loop", "Recovery / Resume / Handoff"];

const DELIVERY: &[&str] =
    &["repo.open_pr", "repo.merge_green_pr", "worker_session.compact", "worker_session.clear"];

/// Every recipe, by its slug.
pub static RECIPES: &[Recipe] = &[
    Recipe {
        name: "goalbuddy-conveyor",
        mode: Strict,
        display_name: "GoalBuddy Conveyor",
        aliases: &["goalbuddy conveyor", "goalbuddy"],
        loop_template: None,
        description: "Run broad work as one parent board with a single active child board at a time",
        objective: "Go on until every child board is merged, proven to be satisfied already, or blocked with evidence",
        permissions: DELIVERY,
        tools: &["verification.run_tests", "context.fetch_prs"],
        epilogues: &["draft-pr", "record-handoff"],
        guidelines: &[
            "Keep exactly one child board active",
            "Update the parent board's receipt before the next child begins",
        ],
        acceptance: &[
            "Every child board has proof of its merge, a satisfied_on_main proof, or proof of what blocks it",
            "The parent board records the final state of every child",
        ],
        evidence_gates: &[
            "child receipt with focused verification",
            "adversarial review",
            "PR/CI/merge or satisfied_on_main proof",
            "parent receipt before the next child",
        ],
        disallowed_actions: &[
            "two child boards at the same time",
            "merging without green CI",
            "compacting or clearing before a handoff is saved",
        ],
        cleanup: "compact between children, after a saved handoff",
    },
    Recipe {
        name: "nudge-whats-next",
        mode: Guided,
        display_name: "Nudge / What's Next Manager",
        aliases: &["nudge / what's next manager", "nudge whats next", "what's next", "whats next"],
        loop_template: None,
        description: "Observe, ask useful questions about status and next steps, and negotiate criteria",
        objective: "Keep the worker moving towards agreed criteria with as little authority as possible",
        permissions: &[],
        tools: &[],
        epilogues: &[],
        guidelines: &[
            "Prefer waiting while the worker is active",
            "Ask for must-have and follow-up criteria whenever the scope moves",
        ],
        acceptance: &[
            "Every accepted criterion is satisfied or explicitly deferred",
            "The closing summary lists commands, changed files and remaining risk",
        ],
        evidence_gates: &["a manager decision", "a worker receipt", "closure of accepted criteria"],
        disallowed_actions: &["granting repo or worker-session permissions by default"],
        cleanup: "off by default",
    },
    Recipe {
        name: "pr-ci-merge-ralph-loop",
        mode: Strict,
        display_name: "PR/CI/Merge Ralph Loop",
        aliases: &["pr ci merge ralph loop", "pr/ci/merge ralph loop", "ralph loop"],
        loop_template: Some("pr_ci_merge_loop"),
        description: "Drive a change through a ready pull request, CI, merge, handoff and clearing of the worker",
        objective: "Deliver the change: pull request ready, CI green, merged, handed off, worker cleared",
        permissions: DELIVERY,
        tools: &["verification.run_tests", "context.fetch_prs"],
        epilogues: &["draft-pr", "record-handoff"],
        guidelines: &["Merge only with green CI and a recorded manager decision"],
        acceptance: &[
            "The PR's URL, green CI, the merge receipt and an adversarial proof are recorded",
            "A worker handoff exists before the context is compacted or cleared",
        ],
        evidence_gates: &["pr_url", "ci_green", "merge", "adversarial_check"],
        disallowed_actions: &[
            "opening PRs before repo.open_pr is granted",
            "merging before repo.merge_green_pr is granted and CI is green",
            "clearing before a handoff is saved",
        ],
        cleanup: "clear after a saved handoff",
    },
    Recipe {
        name: "test-coverage-loop",
        mode: Strict,
        display_name: "Test Coverage Loop",
        aliases: &["test coverage", "test coverage loop"],
        loop_template: Some("test_coverage_loop"),
        description: "Improve or prove confidence in the tests before another pass",
        objective: "Raise or prove the confidence that the tests give, with evidence for every pass",
        permissions: &["worker_session.compact", "worker_session.clear"],
        tools: &["verification.run_tests"],
        epilogues: &[],
        guidelines: &["Record evidence of coverage before asking for another pass"],
        acceptance: &[
            "Coverage or targeted tests are shown before another pass",
            "A structured adversarial proof names the strongest realistic failure mode",
        ],
        evidence_gates: &["test_coverage", "adversarial_check"],
        disallowed_actions: &["going on with a bare \"tests passed\""],
        cleanup: "clear by default",
    },
    Recipe {
        name: "ux-polish-loop",
        mode: Guided,
        display_name: "UX Polish Loop",
        aliases: &["ux polish", "ux polish loop", "visual polish"],
        loop_template: Some("visual_diff_loop"),
        description: "Iterate on visible quality with browser, screenshot and visual-diff evidence",
        objective: "Bring what users see to the reference, with visual evidence for every pass",
        permissions: &["worker_session.compact", "worker_session.clear"],
        tools: &["verification.run_playwright"],
        epilogues: &[],
        guidelines: &["Compare the visible output with the references before another pass"],
        acceptance: &[
            "Reference, candidate screenshot, diff report and a difference below the threshold are recorded",
            "A structured adversarial proof exists before another visual pass",
        ],
        evidence_gates: &[
            "reference_artifact",
            "candidate_screenshot",
            "visual_diff_report",
            "diff_below_threshold",
            "adversarial_check",
        ],
        disallowed_actions: &["approving a visual pass without a screenshot or browser evidence"],
        cleanup: "compact by default",
    },
];

/// A recipe as it is printed.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "fields are named for what they are")]
pub struct RecipeSummary {
    pub acceptance: &'static [&'static str],
    pub cleanup: &'static str,
    pub description: &'static str,
    pub disallowed_actions: &'static [&'static str],
    pub display_name: &'static str,
    pub epilogues: &'static [&'static str],
    pub evidence_gates: &'static [&'static str],
    pub guidelines: &'static [&'static str],
    pub locked_summary_template: String,
    pub loop_template: Option<&'static str>,
    pub manager_config_command: Vec<String>,
    pub mode: SupervisionMode,
    pub name: &'static str,
    pub objective: &'static str,
    pub permissions: &'static [&'static str],
    pub support_patterns: &'static [&'static str],
    pub tools: &'static [&'static str],
}

impl Recipe {
    /// The recipe as it is printed.
    #[must_use]
    pub fn summary(&self) -> RecipeSummary {
        RecipeSummary {
            acceptance: self.acceptance,
            cleanup: self.cleanup,
            description: self.description,
            disallowed_actions: self.disallowed_actions,
            display_name: self.display_name,
            epilogues: self.epilogues,
            evidence_gates: self.evidence_gates,
            guidelines: self.guidelines,
            locked_summary_template: self.locked_summary(),
            loop_template: self.loop_template,
            manager_config_command: self.command(),
            mode: self.mode,
            name: self.name,
            objective: self.objective,
            permissions: self.permissions,
            support_patterns: SUPPORT_PATTERNS,
            tools: self.tools,
        }
    }

    /// What the manager shows to the user before it begins.
    fn locked_summary(&self) -> String {
        let or = |list: &[&str], separator: &str, empty: &str| match list.is_empty() {
            true => empty.to_owned(),
            false => list.join(separator),
        };
        [
            ("Selected recipe", self.display_name.to_owned()),
            ("Mode", self.mode.to_string()),
            ("Permissions", or(self.permissions, ", ", "none")),
            ("Tools", or(self.tools, ", ", "none")),
            ("Epilogues", or(self.epilogues, ", ", "none")),
            ("Cleanup", self.cleanup.to_owned()),
            ("Evidence gates", or(self.evidence_gates, ", ", "manager-reviewed evidence")),
            ("Not allowed", or(self.disallowed_actions, "; ", "unconfirmed custom actions")),
            ("User confirmed", "<yes|no>".to_owned()),
        ]
        .map(|(label, value)| format!("{label}: {value}"))
        .join("\n")
    }

    /// The command that gives a task this contract; `<task>` stands for the task.
    fn command(&self) -> Vec<String> {
        let mut words: Vec<&str> = vec!["conveyor", "manager-config", "<task>", "--mode", self.mode.as_str()];
        words.extend(["--objective", self.objective]);
        let each = |words: &mut Vec<&str>, option: &'static str, values: &[&'static str]| {
            words.extend(values.iter().flat_map(|value| [option, *value]));
        };
        each(&mut words, "--guideline", self.guidelines);
        each(&mut words, "--acceptance", self.acceptance);
        let mut left: Vec<&str> = self.permissions.to_vec();
        left.sort_unstable();
        let switches: [(&str, &[&str]); 3] = [
            ("--allow-worker-compact-clear", &["worker_session.compact", "worker_session.clear"]),
            ("--allow-pr", &["repo.open_pr"]),
            ("--allow-merge-green", &["repo.merge_green_pr"]),
        ];
        for (switch, granted) in switches {
            if granted.iter().all(|permission| left.contains(permission)) {
                left.retain(|permission| !granted.contains(permission));
                words.push(switch);
            }
        }
        each(&mut words, "--permit", &left);
        each(&mut words, "--tool", self.tools);
        each(&mut words, "--epilogue", self.epilogues);
        words.extend(["--recipe", self.name]);
        words.into_iter().map(ToOwned::to_owned).collect()
    }
}

/// The recipe that a name means, in whatever spelling people use for it.
#[must_use]
pub fn find(name: &str) -> Option<&'static Recipe> {
    let words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
    let spoken = words.join(" ");
    let slug = spoken.replace(['_', ' '], "-");
    let is_meant = |recipe: &&Recipe| recipe.aliases.contains(&spoken.as_str());
    RECIPES.iter().find(is_meant).or_else(|| RECIPES.iter().find(|recipe| recipe.name == slug))
}

/// As [`find`], for a name that must be known.
///
/// # Errors
/// An unknown name; the error lists the known ones.
pub fn named(name: &str) -> Result<&'static Recipe> {
    find(name).ok_or_else(|| unknown(name, &[]))
}

/// The refusal of an unknown name; `others` are words that may stand in its place.
pub(super) fn unknown(name: &str, others: &[&str]) -> Error {
    let known: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).chain(others.iter().copied()).collect();
    Error::invalid(format!("unknown manager recipe: {name}; expected one of: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_every_spelling() {
        for (name, slug) in [
            ("  Ralph   Loop ", "pr-ci-merge-ralph-loop"),
            ("PR/CI/Merge Ralph Loop", "pr-ci-merge-ralph-loop"),
            ("pr_ci_merge_ralph_loop", "pr-ci-merge-ralph-loop"),
            ("What's next", "nudge-whats-next"),
            ("ux-polish-loop", "ux-polish-loop"),
            ("visual polish", "ux-polish-loop"),
            ("GoalBuddy", "goalbuddy-conveyor"),
            ("Test Coverage", "test-coverage-loop"),
        ] {
            assert_eq!(find(name).map(|recipe| recipe.name), Some(slug), "{name}");
        }
        for name in ["", "custom", "ralph", "polish"] {
            assert!(find(name).is_none(), "{name}");
        }
    }

    #[test]
    fn every_recipe_names_what_exists() {
        for recipe in RECIPES {
            for permission in recipe.permissions {
                assert!(conveyor_model::permissions::is_canonical(permission), "{permission}");
            }
            for step in recipe.epilogues {
                assert!(conveyor_model::EpilogueStep::from_text(step).is_some(), "{step}");
            }
            assert_eq!(recipe.locked_summary().lines().count(), 9);
            for text in [recipe.description, recipe.objective, recipe.cleanup] {
                assert!(!text.contains('\n'));
            }
        }
        assert!(RECIPES.is_sorted_by_key(|recipe| recipe.name));
    }
}
