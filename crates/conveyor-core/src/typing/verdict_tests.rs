use super::*;

/// Evidence with every proof.
fn proven() -> Evidence {
    Evidence {
        address: Address::Exact,
        input: Input::Plain,
        program: Program::Agent("codex"),
        version: Version::parse("0.169.0"),
        activity: activity_of(AgentState::Idle, Confidence::Proven),
        composer: Composer::Empty,
        dialog: None,
        last_key: None,
    }
}

fn activity_of(state: AgentState, confidence: Confidence) -> Activity {
    Activity { state, confidence, quiet: true, source: "test".into() }
}

#[track_caller]
fn refused(evidence: &Evidence, rule: u8, verdict: Grade, reason: &str) {
    let refusal = judge(evidence).expect("a refusal");
    assert_eq!((refusal.rule, refusal.verdict, refusal.reason), (rule, verdict, reason), "{refusal:?}");
    assert!(!refusal.detail.contains('\n') && !refusal.detail.is_empty());
}

#[test]
fn with_every_proof_it_is_safe() {
    assert_eq!(judge(&proven()), None);
    assert_eq!(judge_again(&proven()), None);
    let inferred = Evidence { activity: activity_of(AgentState::Idle, Confidence::Inferred), ..proven() };
    assert_eq!(judge(&inferred), None);
    for ago in [HANDS_OFF, Duration::from_secs(60)] {
        assert_eq!(judge(&Evidence { last_key: Some(ago), ..proven() }), None);
    }
}

#[test]
fn every_missing_proof_is_a_refusal() {
    use Grade::{Unproven, Unsafe};
    let address = |address| Evidence { address, ..proven() };
    refused(&address(Address::Ambiguous), 1, Unproven, "unproven");
    refused(&address(Address::Elsewhere), 1, Unsafe, "replaced");
    refused(&address(Address::Replaced), 1, Unsafe, "replaced");

    let input = |input| Evidence { input, ..proven() };
    refused(&input(Input::Dead), 2, Unsafe, "gone");
    refused(&input(Input::Mode), 2, Unsafe, "pane_in_mode");
    refused(&input(Input::Off), 2, Unsafe, "input_off");
    refused(&input(Input::Synchronized), 2, Unsafe, "synchronized");

    let program = |program| Evidence { program, ..proven() };
    refused(&program(Program::Shell("bash".into())), 3, Unsafe, "shell");
    refused(&program(Program::Other("vim".into())), 3, Unproven, "unproven");
    refused(&program(Program::Unknown), 3, Unproven, "unproven");

    let last_key = |ago| Evidence { last_key: Some(Duration::from_millis(ago)), ..proven() };
    refused(&last_key(0), 6, Unsafe, "human_active");
    refused(&last_key(2_999), 6, Unsafe, "human_active");

    let composer = |composer| Evidence { composer, ..proven() };
    refused(&composer(Composer::Draft { text: "half".into() }), 5, Unsafe, "draft");
    refused(&composer(Composer::Dialog), 5, Unsafe, "dialog");
    refused(&composer(Composer::Unknown), 5, Unproven, "unproven");
}

#[test]
fn only_a_screen_that_is_not_certain_yet_may_settle() {
    let unknown = || Evidence { composer: Composer::Unknown, ..proven() };
    assert!(may_settle(&unknown()));
    assert!(!may_settle(&proven()));
    assert!(!may_settle(&Evidence { version: None, ..unknown() }));
    assert!(!may_settle(&Evidence { dialog: Some(Pattern::TrustPrompt), ..unknown() }));
    let busy = activity_of(AgentState::Busy, Confidence::Proven);
    assert!(!may_settle(&Evidence { activity: busy, ..unknown() }));
    for composer in [Composer::Dialog, Composer::Draft { text: "x".into() }] {
        assert!(!may_settle(&Evidence { composer, ..proven() }));
    }
}

#[test]
fn only_known_versions_are_typed_into() {
    let of = |version: &str, confidence| Evidence {
        version: Version::parse(version),
        activity: activity_of(AgentState::Idle, confidence),
        ..proven()
    };
    for confidence in [Confidence::Proven, Confidence::Inferred] {
        for version in ["0.161.0", "0.165.9", "0.169.0", "0.171.0"] {
            assert_eq!(judge(&of(version, confidence)), None, "{version}");
        }
        for version in ["0.160.9", "0.1.0", "0.0.0", "", "unreadable"] {
            refused(&of(version, confidence), 7, Grade::Unproven, "unproven");
        }
    }
    // Newer than every test: only a server's word counts.
    for version in ["0.171.1", "0.199.3", "1.0.0"] {
        assert_eq!(judge(&of(version, Confidence::Proven)), None, "{version}");
        refused(&of(version, Confidence::Inferred), 7, Grade::Unproven, "unproven");
    }
}

#[test]
fn every_state_but_idle_is_a_refusal() {
    for &state in AgentState::ALL {
        for &confidence in Confidence::ALL {
            let evidence = Evidence { activity: activity_of(state, confidence), ..proven() };
            match (state, confidence) {
                (AgentState::Idle, Confidence::Proven | Confidence::Inferred) => {
                    assert_eq!(judge(&evidence), None);
                }
                (AgentState::Unknown, _) | (_, Confidence::None) => {
                    refused(&evidence, 4, Grade::Unproven, "unproven");
                }
                _ => refused(&evidence, 4, Grade::Unsafe, state.as_str()),
            }
        }
    }
}

#[test]
fn inferred_idleness_needs_silence() {
    for confidence in [Confidence::Proven, Confidence::Inferred] {
        let activity = Activity { quiet: false, ..activity_of(AgentState::Idle, confidence) };
        let evidence = Evidence { activity, ..proven() };
        match confidence {
            Confidence::Inferred => refused(&evidence, 4, Grade::Unproven, "busy"),
            _ => assert_eq!(judge(&evidence), None, "the agent's own word needs none"),
        }
    }
}

#[test]
fn the_screen_may_veto_and_explain_but_never_permit() {
    let dialog = |dialog, activity| Evidence { dialog: Some(dialog), activity, ..proven() };
    let idle = activity_of(AgentState::Idle, Confidence::Proven);
    refused(&dialog(Pattern::EnterToConfirm, idle), 5, Grade::Unsafe, "dialog");
    let busy = || activity_of(AgentState::Busy, Confidence::Inferred);
    let cases = [
        (Pattern::ApprovalPrompt, "waiting_approval"),
        (Pattern::TrustPrompt, "waiting_approval"),
        (Pattern::QuestionPrompt, "waiting_input"),
    ];
    for (pattern, reason) in cases {
        refused(&dialog(pattern, busy()), 4, Grade::Unsafe, reason);
    }
    // An empty composer looks the same while a turn runs.
    refused(&Evidence { activity: busy(), ..proven() }, 4, Grade::Unsafe, "busy");
}

#[test]
fn what_is_broken_is_told_before_what_is_unproven() {
    let evidence = Evidence {
        program: Program::Unknown,
        version: None,
        composer: Composer::Draft { text: "x".into() },
        ..proven()
    };
    refused(&evidence, 5, Grade::Unsafe, "draft");
    let nothing = Evidence {
        program: Program::Unknown,
        version: None,
        activity: activity_of(AgentState::Unknown, Confidence::None),
        composer: Composer::Unknown,
        ..proven()
    };
    refused(&nothing, 3, Grade::Unproven, "unproven");
}

#[test]
fn before_enter_a_dialog_a_turn_or_a_mode_stops_it() {
    let draft = || Evidence { composer: Composer::Draft { text: "ours".into() }, ..proven() };
    assert_eq!(judge_again(&draft()), None, "our own text stands there now");
    let reason = |evidence: &Evidence| judge_again(evidence).map(|refusal| refusal.reason);
    assert_eq!(reason(&Evidence { composer: Composer::Dialog, ..draft() }), Some("dialog"));
    assert_eq!(reason(&Evidence { input: Input::Mode, ..draft() }), Some("pane_in_mode"));
    let busy = activity_of(AgentState::Busy, Confidence::Proven);
    assert_eq!(reason(&Evidence { activity: busy, ..draft() }), Some("busy"));
}
