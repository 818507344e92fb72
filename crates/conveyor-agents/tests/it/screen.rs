//! The screens of Codex 0.169 as they were recorded, and what older versions showed.

use std::fs;
use std::path::Path;

use conveyor_agents::screen::{
    Activity, Composer, Cursor, Pattern, Screen, StartupState, busy_wait, composer, startup,
};

fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/codex-0.169/panes").join(name);
    fs::read_to_string(path).expect("a recorded screen")
}

fn pattern(screen: &str, age: Option<i64>, recent_events: usize) -> Option<Pattern> {
    let activity = Activity { status_age_seconds: age, busy_wait_seconds: 90, recent_events };
    busy_wait(screen, &activity).map(|found| found.pattern)
}

#[test]
fn recorded_screens_are_what_they_were() {
    use StartupState::{NeedsTrust, Ready, Working};
    let cases = [
        ("01-trust.txt", NeedsTrust, Some(Pattern::TrustPrompt)),
        ("02-idle-new.txt", Ready, None),
        ("03-typed.txt", Ready, None),
        ("04-approval.txt", Working, Some(Pattern::ApprovalPrompt)),
        ("05-after-approval.txt", Working, None),
        ("06-working.txt", Working, None),
        ("07-working-queued.txt", Working, None),
        ("08-interrupted.txt", Ready, None),
        ("09-stream-error.txt", Working, None),
        ("10-compacted.txt", Ready, None),
        ("11-cleared.txt", Ready, None),
    ];
    for (name, state, dialog) in cases {
        let screen = recorded(name);
        assert_eq!(startup(&screen).state, state, "{name}");
        // A dialog counts whatever the age; running work only after a silence.
        for age in [None, Some(0)] {
            assert_eq!(pattern(&screen, age, 0), dialog, "{name} at age {age:?}");
        }
        let running = screen.contains("esc to interrupt");
        let later = dialog.or(running.then_some(Pattern::LongRunningInterruptible));
        assert_eq!(pattern(&screen, Some(90), 9), later, "{name} after a silence");
        assert_eq!(pattern(&screen, Some(90), 10), dialog, "{name} with progress");
    }
}

#[test]
fn an_approval_is_never_to_be_confirmed() {
    let found = busy_wait(&recorded("04-approval.txt"), &Activity::default()).expect("a dialog");
    assert_eq!((found.pattern.as_str(), found.recommended_action), ("approval_prompt", "inspect_or_approve"));
    assert!(recorded("04-approval.txt").contains("Press enter to confirm"));
}

#[test]
fn the_dialogs_of_older_versions() {
    let cases = [
        ("Do you trust the contents of this directory?\n› 1. Yes", "trust_prompt", "inspect_or_accept_trust"),
        ("TRUST THIS FOLDER?", "trust_prompt", "inspect_or_accept_trust"),
        ("Approaching rate limits\nSwitch to a smaller model?", "rate_limit_prompt", "inspect_or_interrupt"),
        ("Press Enter to confirm", "enter_to_confirm", "inspect_or_confirm"),
        ("Create a plan?", "plan_prompt", "inspect_or_confirm"),
        ("This command requires approval\nAllow  Deny", "approval_prompt", "inspect_or_approve"),
        ("Approve command?\nPress enter to confirm", "approval_prompt", "inspect_or_approve"),
    ];
    for (screen, name, action) in cases {
        for age in [None, Some(0), Some(1000)] {
            let activity = Activity { status_age_seconds: age, busy_wait_seconds: 90, recent_events: 50 };
            let found = busy_wait(screen, &activity).expect(screen);
            assert_eq!((found.pattern.as_str(), found.recommended_action), (name, action), "{screen:?}");
            assert!(found.reason.ends_with('.') && !found.reason.contains('\n'));
        }
        assert_ne!(startup(&format!("OpenAI Codex\n› \n{screen}")).state, StartupState::Ready, "{screen:?}");
    }
}

#[test]
fn starting_servers_keep_the_age_rule() {
    let screen = "OpenAI Codex\nStarting MCP servers (0/2)";
    assert_eq!(pattern(screen, None, 0), Some(Pattern::McpStartup), "an unknown age is no short one");
    assert_eq!(pattern(screen, Some(89), 0), None);
    assert_eq!(pattern(screen, Some(90), 50), Some(Pattern::McpStartup));
}

#[test]
fn running_work_is_remarkable_only_after_a_known_silence() {
    let screen = "• Working (3s • esc to interrupt)";
    assert_eq!(pattern(screen, None, 0), None);
    assert_eq!(pattern(screen, Some(89), 0), None);
    assert_eq!(pattern(screen, Some(90), 0), Some(Pattern::LongRunningInterruptible));
    assert_eq!(pattern(screen, Some(90), 10), None);
}

#[test]
fn menus_are_told_by_their_question_and_choices() {
    let menu = |question: &str, choices: &[&str]| {
        let mut screen = format!("old text\n\n  {question}\n\n");
        for (index, choice) in choices.iter().enumerate() {
            let mark = if index == 1 { '›' } else { ' ' };
            screen += &format!("{mark} {}. {choice}\n", index + 1);
        }
        screen + "\n  enter to select · esc to go back\n"
    };
    let cases = [
        (menu("Which database?", &["SQLite", "PostgreSQL"]), Pattern::QuestionPrompt),
        (menu("Work is running", &["Keep going", "Interrupt and send"]), Pattern::InterruptMenu),
        (
            menu("Would you like to make the following edits?", &["Yes, proceed", "No"]),
            Pattern::ApprovalPrompt,
        ),
        (menu("The server x asks to run tool y", &["Allow once", "Cancel"]), Pattern::ApprovalPrompt),
        (menu("Approaching rate limits", &["Yes, switch", "No, keep"]), Pattern::RateLimitPrompt),
    ];
    for (screen, expected) in cases {
        assert_eq!(pattern(&screen, Some(0), 0), Some(expected), "{screen}");
    }
}

#[test]
fn lists_in_messages_and_drafts_are_no_menus() {
    let footer = "\n\n  mock default · /home/dev/project\n  ? for shortcuts\n";
    for above in ["› 1. first\n  2. second\n\n\n› Ask Codex to do anything", "› 1. first\n  2. second"]
    {
        let screen = format!("{above}{footer}");
        assert_eq!(pattern(&screen, Some(0), 0), None, "{screen}");
        assert_eq!(startup(&screen).state, StartupState::Ready, "{screen}");
    }
}

#[test]
fn our_own_reports_on_a_screen_ask_for_no_approval() {
    let ours = "\"notable_pane_pattern\": \"approval_prompt\",\n\"inspect_or_approve\": \"allow\"\n";
    assert_eq!(pattern(ours, Some(500), 0), None);
    let far = format!("needs approval: allow or deny\n{}", "line\n".repeat(12));
    assert_eq!(pattern(&far, Some(500), 0), None, "only the last twelve lines count");
}

#[test]
fn words_about_approvals_above_a_composer_ask_for_nothing() {
    // As Codex 0.169 begins, where it may do everything.
    let screen = "  >_ OpenAI Codex (v0.169.0)\n     ~/work\n\n  permissions: YOLO mode\n\n  Tip: Use /status to see the \
                  current model, approvals, and token usage.\n\n› Ask Codex to do anything\n\n  default · ~/work\n  \
                  ← for agents · ? for shortcuts\n";
    assert_eq!(pattern(screen, Some(500), 0), None);
    assert_eq!(startup(screen).state, StartupState::Ready);
    let without = screen.split("› Ask").next().unwrap();
    assert_eq!(pattern(without, Some(0), 0), Some(Pattern::ApprovalPrompt), "no composer, no certainty");
}

#[test]
fn start_up_states_of_plain_texts() {
    use StartupState::{Error, Ready, Starting, Working};
    let cases = [
        ("", Starting),
        (" \n\t\n", Starting),
        ("$ codex", Starting),
        ("OPENAI CODEX\n› ", Ready),
        ("OpenAI Codex", Starting),
        ("OpenAI Codex\n› \n• Working (1s • Esc to interrupt)", Working),
        ("Error: no such model", Error),
        ("login FAILED", Error),
        ("OpenAI Codex\n› x\nthe build failed", Ready),
    ];
    for (screen, state) in cases {
        assert_eq!(startup(screen).state, state, "{screen:?}");
    }
}

/// A recorded screen with the attributes that Codex gives to prompt, placeholder and footer. The
/// recordings themselves are plain.
fn with_attributes(name: &str) -> (Screen, usize) {
    let plain = recorded(name);
    let rows: Vec<&str> = plain.lines().collect();
    let prompt = rows.iter().rposition(|row| row.starts_with('›')).expect("a prompt");
    let row = |(index, row): (usize, &&str)| match row.strip_prefix('›') {
        Some(" Ask Codex to do anything") if index == prompt => {
            "\u{1b}[1m›\u{1b}[0m \u{1b}[2mAsk Codex to do anything\u{1b}[0m".to_owned()
        }
        Some(text) if index == prompt => format!("\u{1b}[1m›\u{1b}[0m{text}"),
        _ => (*row).to_owned(),
    };
    (Screen::parse(&rows.iter().enumerate().map(row).collect::<Vec<_>>().join("\n")), prompt)
}

fn at(x: usize, y: usize) -> Cursor {
    Cursor { x, y, visible: true }
}

#[test]
fn the_composer_of_recorded_screens() {
    let idle = ["02-idle-new.txt", "08-interrupted.txt", "10-compacted.txt", "11-cleared.txt"];
    // An empty composer looks the same while a turn runs; that is for others to know.
    let working = ["05-after-approval.txt", "06-working.txt", "07-working-queued.txt", "09-stream-error.txt"];
    for name in idle.into_iter().chain(working) {
        let (screen, row) = with_attributes(name);
        assert_eq!(composer(&screen, at(2, row)), Composer::Empty, "{name}");
        assert_eq!(composer(&screen, at(3, row)), Composer::Unknown, "{name}");
        assert_eq!(composer(&screen, at(2, row - 1)), Composer::Unknown, "{name}");
        assert_eq!(composer(&screen, Cursor { visible: false, ..at(2, row) }), Composer::Dialog, "{name}");
        let plain = Screen::parse(&recorded(name));
        assert_eq!(composer(&plain, at(2, row)), Composer::Unknown, "{name} without attributes");
    }
    let (typed, row) = with_attributes("03-typed.txt");
    for x in [2, 16] {
        let draft = Composer::Draft { text: "touch the file".into() };
        assert_eq!(composer(&typed, at(x, row)), draft, "wherever the cursor is");
    }
    for name in ["01-trust.txt", "04-approval.txt"] {
        let (screen, row) = with_attributes(name);
        assert_eq!(composer(&screen, at(2, row)), Composer::Dialog, "{name}");
    }
}

#[test]
fn drafts_are_found_in_every_row_of_the_composer() {
    let footer = "\n\n  mock default · /home/dev/project";
    let prompt = "\u{1b}[1m›\u{1b}[0m";
    let draft = |text: &str| Composer::Draft { text: text.into() };
    let cases = [
        (format!("{prompt} first\n  second{footer}"), draft("first\nsecond")),
        (format!("{prompt} \n  second{footer}"), draft("second")),
        (format!("{prompt} \u{1b}[2mdim \u{1b}[0mplain{footer}"), draft("plain")),
        (format!("{prompt} \u{1b}[38;5;2mgreen\u{1b}[0m{footer}"), draft("green")),
        (format!("{prompt} 1. first\n  2. second{footer}"), draft("1. first\n2. second")),
        (format!("{prompt}{footer}"), Composer::Empty),
        (format!("{prompt} \u{1b}[2mdim\n  dim, too\u{1b}[0m{footer}"), Composer::Empty),
        // A text below a blank row is not taken for a footer.
        (format!("{prompt} \n\n  second{footer}"), Composer::Unknown),
        // No footer, no certainty; and no prompt at all.
        (format!("{prompt} "), Composer::Unknown),
        (format!("{prompt} \n\n$ ls"), Composer::Unknown),
        (format!("{prompt}x{footer}"), Composer::Unknown),
        (format!("$ {footer}"), Composer::Unknown),
    ];
    for (screen, expected) in cases {
        assert_eq!(composer(&Screen::parse(&screen), at(2, 0)), expected, "{screen:?}");
    }
}

#[test]
fn a_session_that_is_being_loaded_takes_no_messages() {
    let screen = |above: &str| {
        format!(
            "  >_ OpenAI Codex (v0.169.0)\n     ~/work\n\n{above}\n\n\u{1b}[1m›\u{1b}[0m \u{1b}[2mAsk Codex to do \
             anything\u{1b}[0m\n\n  ? for shortcuts"
        )
    };
    for above in ["  Resuming session…", "  Forking session…"] {
        let screen = Screen::parse(&screen(above));
        assert_eq!(startup(&screen.text()).state, StartupState::Starting, "{above}");
        assert_eq!(composer(&screen, at(2, 5)), Composer::Unknown, "{above}");
    }
    // What an agent says about sessions is no such note.
    for above in ["• Resuming session… is what it shows", "  Resuming session…\n\n• done"] {
        let (screen, row) = (Screen::parse(&screen(above)), 5 + above.lines().count() - 1);
        assert_eq!(startup(&screen.text()).state, StartupState::Ready, "{above}");
        assert_eq!(composer(&screen, at(2, row)), Composer::Empty, "{above}");
    }
}

#[test]
fn a_frame_around_the_composer_is_not_its_text() {
    let screen = "╭────────╮\n│ \u{1b}[1m›\u{1b}[0m      │\n╰────────╯\n  100% context left";
    assert_eq!(composer(&Screen::parse(screen), at(4, 1)), Composer::Empty);
    let draft = screen.replace("     │", " x   │");
    assert_eq!(composer(&Screen::parse(&draft), at(4, 1)), Composer::Draft { text: "x".into() });
}
