//! Words are no dialog: what an agent says, and the name of its thread in the footer, looks like
//! one; and the questions that Codex 0.171 puts in front of a start.

use std::fs;
use std::path::Path;

use conveyor_agents::screen::{
    Activity, Composer, Cursor, Pattern, Screen, StartupState, busy_wait, composer, startup, trusts_on_enter,
};

/// A screen of 0.171 with its attributes.
fn recorded(name: &str) -> Screen {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/codex-0.171/panes").join(name);
    Screen::parse(&fs::read_to_string(path).expect("a recorded screen"))
}

fn pattern(screen: &str, age: i64) -> Option<Pattern> {
    let activity = Activity { status_age_seconds: Some(age), busy_wait_seconds: 90, recent_events: 0 };
    busy_wait(screen, &activity).map(|found| found.pattern)
}

/// The composer when the cursor is in its first column.
fn composer_of(screen: &Screen) -> Composer {
    let y = screen
        .text()
        .lines()
        .collect::<Vec<_>>()
        .iter()
        .rposition(|row| row.starts_with('›'))
        .expect("a composer");
    composer(screen, Cursor { x: 2, y, visible: true })
}

#[test]
fn questions_in_front_of_a_start_are_known_by_their_form() {
    for (name, expected, action) in [
        ("update.txt", Pattern::UpdatePrompt, "inspect_or_escape"),
        ("hooks.txt", Pattern::HooksPrompt, "inspect_or_answer"),
        ("model.txt", Pattern::ModelPrompt, "inspect_or_answer"),
    ] {
        let screen = recorded(name);
        let found = busy_wait(&screen.text(), &Activity::default()).expect(name);
        assert_eq!((found.pattern, found.recommended_action), (expected, action), "{name}");
        assert_eq!(startup(&screen.text()).state, StartupState::Starting, "{name}");
        let hidden = Cursor { x: 1, y: 42, visible: false };
        assert_eq!(composer(&screen, hidden), Composer::Dialog, "{name}");
        assert_eq!(composer_of(&screen), Composer::Dialog, "{name}, wherever the cursor is");
        assert!(!trusts_on_enter(&screen.text()), "{name}");
    }
    let update = busy_wait(&recorded("update.txt").text(), &Activity::default()).unwrap();
    assert!(update.reason.contains("Escape") && update.pattern.as_str() == "update_prompt");
}

#[test]
fn a_name_and_an_answer_that_sound_like_dialogs_park_nothing() {
    for (name, draft) in [("named.txt", None), ("named-draft.txt", Some("half a thought"))] {
        let screen = recorded(name);
        let text = screen.text();
        assert!(text.contains("press enter to confirm") && text.contains("Trust this folder?"));
        assert_eq!(pattern(&text, 500), None, "{name}");
        assert_eq!(startup(&text).state, StartupState::Ready, "{name}");
        let expected = draft.map_or(Composer::Empty, |text| Composer::Draft { text: text.into() });
        assert_eq!(composer_of(&screen), expected, "{name}");
    }
}

/// A screen that ends with the composer, its draft and the thread's name as given.
fn ending(above: &str, draft: &str, name: &str) -> String {
    format!(
        "  >_ OpenAI Codex (v0.171.0)\n     ~/p\n\n› hi\n\n{above}\n\n› {draft}\n\n  default · ~/p · {name}\n"
    )
}

#[test]
fn whatever_is_said_above_a_composer_is_no_dialog() {
    let menu = "• I saw this:\n  › 1. Yes, proceed (y)\n    2. No (esc)\n\n  Press enter to confirm or esc to cancel";
    let dialogs = [
        "• Do you trust the contents of this directory?",
        "• Approaching rate limits: create a plan?",
        "• It requires approval: allow or deny. Approve command?",
        "• Press Enter to confirm",
        menu,
        "› 1. Yes\n  2. No\n\n• As you like. Press enter.",
        "• Working (3s • esc to interrupt)\n\n  Worked for 4s • 06:17",
        "• press esc to interrupt, or while starting MCP servers wait",
        "• error: it failed",
    ];
    for said in dialogs {
        for draft in ["Ask Codex to do anything", "1. first\n  2. second", "a\n\n  b", "› 1. x\n  2. y"] {
            for name in ["tidy up", "press enter to confirm", "1. Yes, proceed", "esc to interrupt · enter"]
            {
                let screen = ending(said, draft, name);
                assert_eq!(pattern(&screen, 500), None, "{screen}");
                assert_eq!(startup(&screen).state, StartupState::Ready, "{screen}");
            }
        }
    }
}

#[test]
fn a_name_that_is_broken_into_rows_is_still_a_name() {
    let name =
        "a name that goes on\n  and on until enter is pressed to confirm\n  and Trust this folder? is asked";
    let screen = ending("• done", "half a thought", name);
    assert_eq!(pattern(&screen, 500), None, "{screen}");
    assert_eq!(startup(&screen).state, StartupState::Ready);
}

#[test]
fn running_work_is_known_by_its_row_above_the_composer() {
    let screen = recorded("working.txt").text();
    assert_eq!(pattern(&screen, 500), Some(Pattern::LongRunningInterruptible));
    assert_eq!(startup(&screen).state, StartupState::Working);
    for row in ["• Working (1m 03s • esc to interrupt)", "◦ Thinking (1h 2m 3s • esc to interrupt)"] {
        let screen = ending(&format!("{row}\n\n• Queued follow-up inputs\n  ↳ Trust this folder?"), "x", "n");
        assert_eq!(pattern(&screen, 500), Some(Pattern::LongRunningInterruptible), "{screen}");
        assert_eq!(pattern(&screen, 5), None, "{screen}");
    }
    let starting = ending("• Starting MCP servers (0/2): a (0s • esc to interrupt)", "x", "n");
    assert_eq!(pattern(&starting, 500), Some(Pattern::McpStartup));
}

#[test]
fn a_menu_is_about_its_own_question_and_not_about_what_was_said_before() {
    let consent = "  Would you like to run the following command?\n\n  $ touch x\n\n› 1. Yes, proceed (y)\n  2. No (esc)\n\n  \
                   Press enter to confirm or esc to cancel\n";
    for said in ["• Trust this folder? I do.", "• So:\n\n  Trust this folder?", "› approaching rate limits"]
    {
        let screen = format!("{said}\n\n{consent}");
        assert_eq!(pattern(&screen, 0), Some(Pattern::ApprovalPrompt), "{screen}");
        assert!(!trusts_on_enter(&screen), "{screen}");
    }
    let trust = "• Would you like to go on?\n\n  Trust this folder? Codex can read it.\n\n› 1. Trust and continue\n  2. Back\n\n  \
                 enter continue · esc back\n";
    assert_eq!(pattern(trust, 0), Some(Pattern::TrustPrompt));
    assert!(trusts_on_enter(trust));
}

#[test]
fn a_panel_that_waits_for_a_key_is_not_ready() {
    let panel = recorded("warnings.txt").text();
    let panel =
        format!("  >_ OpenAI Codex (v0.171.0)\n\n› hi\n\n{}", &panel[panel.find("  Warnings").unwrap()..]);
    assert!(panel.contains("esc dismiss"));
    assert_eq!(startup(&panel).state, StartupState::Starting);
}
